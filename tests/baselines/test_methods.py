"""Every method finds a known map between oblique, anisotropic grids, in the right direction and axis order.

The methods are those of `TOOLS`; a new one needs no line here unless it is slow.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest
from scipy import ndimage

from acreg.baselines import NAMES, TOOLS, baseline
from acreg.geometry import Affine, Displacement, Grid, Transform
from acreg.io import Image
from acreg.versions import installed_version

AFFINE = [name for name in NAMES if name.endswith(":affine")]
DEFORMABLE = [name for name in NAMES if name not in AFFINE]
SLOW_IN_3D = {
    *("ants:SyNCC", "ants:SyNOnly", "sitk:demons", "sitk:symmetric-demons", "sitk:bspline"),
    *("elastix:bspline", "elastix:acregnet", "elastix:jrsnet"),
}
"""Methods that take minutes in 3-D, and whose code for axes and units is that of a method that is tested in 3-D."""
SLOW_TWINS = {"ants:SyNCC", "elastix:acregnet"}
"""Methods that take seconds in 2-D and differ from another one by their parameters alone."""
CASES = [(name, rank) for name in DEFORMABLE for rank in (2, 3) if rank == 2 or name not in SLOW_IN_3D]
WITH_AFFINE = [
    name
    for name in DEFORMABLE
    if name.partition(":")[2] not in TOOLS[name.partition(":")[0]].without_affine and name not in SLOW_TWINS
]
OF_EACH_TOOL = [
    next(name for name in DEFORMABLE if name.startswith(f"{tool}:") and name not in SLOW_TWINS) for tool in TOOLS
]
"""One method of each program."""


def that_have(*options):
    """The methods with these options."""
    return [
        f"{tool.name}:{kind}"
        for tool in TOOLS.values()
        for kind, known in tool.module.OPTIONS.items()
        if set(options) <= set(known)
    ]


def method(name, **options):
    """The method; the test is skipped if the program is not installed."""
    package = TOOLS[name.partition(":")[0]].package
    if installed_version(package) is None:
        pytest.skip(f"{package} (the extra [baselines]) is not installed")
    return baseline(name, **options)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", AFFINE)
def test_an_affine_map_is_found(known_pair, name, rank):
    known = known_pair(rank, False)
    transform = method(name).register(fixed=known.fixed, moving=known.moving)
    assert [type(part) for part in transform.maps] == [Affine]
    assert transform.fixed == known.fixed.grid and transform.moving == known.moving.grid
    assert known.before > 2.5
    # greedy's correlation of patches counts those that reach beyond the images, and so is drawn to their middle.
    bound = 1.0 if (name, rank) == ("greedy:affine", 3) else 0.3
    assert known.errors(transform).mean() < bound
    back = transform.warp_points(known.expected, to="fixed")
    assert np.linalg.norm(back - known.points, axis=1).mean() < bound


@pytest.mark.parametrize("name, rank", CASES)
def test_a_deformation_is_found(known_pair, name, rank):
    known = known_pair(rank, True)
    transform = method(name).register(fixed=known.fixed, moving=known.moving)
    assert known.before > 2.5
    assert known.errors(transform).mean() < known.before / 4
    assert transform.folding()["folded_percent"] < 0.1
    warped = transform.warp_image(known.moving)
    assert np.corrcoef(known.fixed.array.ravel(), warped.array.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", NAMES)
def test_one_image_stays_in_place(known_pair, name):
    fixed = known_pair(2, True).fixed
    transform = method(name).register(fixed=fixed, moving=fixed)
    # A joint histogram of two thousand voxels has its best place a little off where both images are the same.
    assert np.abs(transform.displacement[8:-8, 8:-8]).mean() < (0.75 if name == "elastix:jrsnet" else 0.25)


@pytest.mark.parametrize("name", WITH_AFFINE)
def test_beyond_the_fixed_image_the_affine_goes_on(known_pair, name):
    known = known_pair(2, True)
    transform = method(name).register(fixed=known.fixed, moving=known.moving)
    assert [type(part) for part in transform.maps] == [Displacement, Affine]
    far = known.fixed.grid.to_world(np.array([[-30.0, -20.0]]))
    np.testing.assert_array_equal(transform.warp_points(far, to="moving"), transform.maps[1](far))


@pytest.mark.parametrize("name", that_have("affine"))
def test_without_the_affine_stage_the_images_start_where_they_lie(known_pair, name):
    """Two images on grids of their own in one space: what is found is a deformation alone, and about the right one."""
    known = known_pair(2, True)
    first = method(name).register(fixed=known.fixed, moving=known.moving)
    aligned = first.maps[1]
    moved = Transform(known.fixed.grid, known.moving.grid, (aligned,)).warp_image(known.moving)
    found = method(f"{name}[affine=false]").register(fixed=known.fixed, moving=moved)
    assert [type(part) for part in found.maps] == [Displacement]
    both = Transform(known.fixed.grid, known.moving.grid, (*found.maps, aligned))
    assert known.errors(Transform(known.fixed.grid, known.moving.grid, (aligned,))).mean() > 1
    assert known.errors(both).mean() < known.before / 4


@pytest.mark.parametrize("name", that_have("affine", "iterations", "smoothing"))
def test_more_smoothing_gives_smoother_fields_and_fewer_iterations_shorter_ones(known_pair, name):
    known = known_pair(2, True)

    def found(options):
        return method(f"{name}[affine=false,{options}]").register(fixed=known.fixed, moving=known.moving).folding()

    rough, smooth = (found(f"iterations=30x30,smoothing={sigma}")["sd_log_j"] for sigma in (0.8, 4))
    assert smooth < 0.8 * rough
    assert found("iterations=2,smoothing=0.8")["sd_log_j"] < 0.8 * rough


@pytest.mark.parametrize("name", ["greedy:deformable", "elastix:bspline"])
def test_mutual_information_registers_another_contrast(name):
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(120, 120)), 3)
    values = np.round(4 * (texture - texture.min()) / np.ptp(texture))
    fixed, moving = (Image.from_array(array) for array in (values[8:104, 8:104], 4 - values[6:102, 11:107]))
    found = method(f"{name}[mutual_information=true]").register(fixed=fixed, moving=moving)
    assert np.linalg.norm(found.displacement[10:-10, 10:-10] - [2, -3], axis=-1).mean() < 0.5


@pytest.mark.parametrize("name", OF_EACH_TOOL)
def test_one_thread_and_one_seed_give_one_result(known_pair, name):
    known = known_pair(2, True)
    runs = [method(name, seed=3).register(fixed=known.fixed, moving=known.moving).displacement for _ in range(2)]
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("name", [name for name in OF_EACH_TOOL if not name.startswith("ants:")])
def test_two_threads_find_a_deformation(known_pair, name):
    """elastix's bending energy brought the process down. ANTs takes one number of threads a process, here 1."""
    known = known_pair(2, True)
    transform = method(name, threads=2).register(fixed=known.fixed, moving=known.moving)
    assert known.errors(transform).mean() < known.before / 4


@pytest.mark.parametrize("name", ["sitk:symmetric-demons", "sitk:bspline"])
def test_the_unit_of_length_does_not_matter(known_pair, name):
    """A microscope's pixels or a field's: the same voxels move by the same number of voxels."""
    known = known_pair(2, True)

    def scaled(image, factor):
        grid = image.grid
        numbers = (tuple(factor * x for x in values) for values in (grid.spacing, grid.origin))
        return Image(image.array, Grid(grid.shape, *numbers, grid.direction))

    found = [
        method(name).register(fixed=scaled(known.fixed, factor), moving=scaled(known.moving, factor)).displacement
        for factor in (1.0, 0.01)
    ]
    assert np.abs(found[0]).mean() > 1
    assert np.abs(found[1] - found[0]).max() < 0.02


@pytest.mark.parametrize("name", OF_EACH_TOOL)
def test_nothing_is_printed_and_nothing_left(known_pair, name, tmp_path, monkeypatch, capfd):
    known = known_pair(2, True)
    chosen = method(name)
    for folder in ("temporary", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "here")
    before = dict(os.environ)
    capfd.readouterr()
    chosen.register(fixed=known.fixed, moving=known.moving)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["here", "temporary"]
    assert dict(os.environ) == before


@pytest.mark.parametrize("low", [0.0, -1000.0], ids=["from 0", "as CT"])
def test_few_thick_slices_far_away(low):
    """Seven slices of 8 mm, in another corner of the world, with values below zero."""
    grids = Grid((7, 40, 40), (8.0, 1.3, 1.3)), Grid((7, 40, 40), (8.0, 1.3, 1.3), (500.0, -300.0, 80.0))

    def draw(grid, shift):
        index = np.stack(np.indices(grid.shape), -1) - [3, 19 + shift, 19]
        return Image(low + 1000 * np.exp(-np.sum((index / [2, 8, 6]) ** 2, -1)), grid)

    transform = method("sitk:affine").register(fixed=draw(grids[0], 0), moving=draw(grids[1], 4))
    middle = grids[0].to_world(np.array([[3.0, 19.0, 19.0]]))
    found = grids[1].to_index(transform.warp_points(middle, to="moving"))
    np.testing.assert_allclose(found, [[3.0, 23.0, 19.0]], atol=0.3)
