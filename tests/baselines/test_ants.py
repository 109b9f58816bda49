"""Transforms go from antspyx to acreg and back, through files.

What ANTs reads, found with antspyx 0.6.3: `.h5` and `.tfm` (composites, fields stored as float32 too), `.nii` and
`.nii.gz` fields, and affine `.mat`, of which alone it takes the inverse (`whichtoinvert`). Its list of transforms is in
the order of `Transform.compose`: the first takes the fixed point first. It moves *points* from the fixed image to the
moving one with the list that pulls the moving *image* onto the fixed one.
"""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.geometry import Affine, Displacement, Grid, Transform, Velocity
from acreg.io import Image, read_image, write_image
from acreg.io.transforms import read_transform, write_transform

pytest.importorskip("ants", reason="antspyx (the extra [baselines]) is not installed")

OUTSIDE = -5.0


def centred(shape, spacing, direction, middle):
    """A grid about `middle`, mm."""
    shift = np.asarray(direction) @ (np.multiply(spacing, np.array(shape) - 1) / 2)
    return Grid(shape, spacing, tuple(np.asarray(middle) - shift), direction)


TURN = Rotation.from_euler("xyz", (0.3, -0.5, 0.2)).as_matrix()
GRIDS = {
    3: (
        centred((18, 26, 24), (2.0, 1.2, 1.0), TURN, (-100.0, 30.0, 4.0)),
        centred((26, 24, 28), (1.2, 1.5, 1.0), np.eye(3)[[2, 0, 1]] * [1, -1, 1], (-98.0, 29.0, 5.0)),
    ),
    2: (
        centred((48, 40), (1.0, 1.2), ((0.8, 0.6), (0.6, -0.8)), (30.0, -40.0)),
        centred((44, 50), (0.9, 1.1), ((0.0, -1.0), (1.0, 0.0)), (32.0, -41.0)),
    ),
}


def blobs(grid, middle, seed=0):
    """The same few blobs wherever they are drawn, 16 mm about `middle`."""
    rng = np.random.default_rng(seed)
    world = grid.to_world(np.stack(np.indices(grid.shape), axis=-1))
    heights = [np.exp(-np.sum((world - middle - rng.normal(0, 5, grid.rank)) ** 2, -1) / 18) for _ in range(7)]
    return Image(sum((k + 1) * height for k, height in enumerate(heights)).astype(np.float32), grid)


@pytest.fixture(scope="module", params=[3, 2], ids=["3-D", "2-D"])
def pair(request, tmp_path_factory):
    """A fixed and a moving image and their files."""
    folder = tmp_path_factory.mktemp("ants")
    fixed, moving = GRIDS[request.param]
    middle = fixed.to_world((np.array(fixed.shape) - 1) / 2)
    write_image(blobs(fixed, middle), folder / "fixed.nii.gz")
    write_image(blobs(moving, middle + [1.5, -1.0, 1.0][: fixed.rank]), folder / "moving.nii.gz")
    return folder, read_image(folder / "fixed.nii.gz"), read_image(folder / "moving.nii.gz")


def warped_by_ants(folder, paths, fixed="fixed.nii.gz", moving="moving.nii.gz", **options):
    """What ants.apply_transforms makes of the moving image's file, and where it looks inside of it."""
    import ants

    images = (ants.image_read(str(folder / name)) for name in (fixed, moving))
    warped = ants.apply_transforms(*images, [str(path) for path in paths], defaultvalue=OUTSIDE, **options)
    ants.image_write(warped, str(folder / "warped.nii.gz"))
    array = read_image(folder / "warped.nii.gz").array
    inside = array > OUTSIDE / 2
    assert inside.mean() > 0.4
    return array, inside


def moved_by_ants(points, paths, **options):
    import ants
    import pandas as pd

    rank = points.shape[1]
    table = pd.DataFrame(points[:, ::-1], columns=["x", "y", "z"][:rank])
    moved = ants.apply_transforms_to_points(rank, table, [str(path) for path in paths], **options)
    return moved[["x", "y", "z"][:rank]].to_numpy()[:, ::-1]


def some_points(grid, count=50):
    return grid.to_world(np.random.default_rng(0).uniform(3, np.array(grid.shape) - 4, (count, grid.rank)))


def assert_same_image(transform, image, theirs, inside):
    ours = transform.warp_image(image).array
    assert np.abs(ours - theirs)[inside].max() < 1e-3 * np.ptp(image.array)
    assert ndimage.standard_deviation(ours[inside]) > 0.1  # there was something to compare


def test_what_ants_registers_is_read(pair):
    import ants

    folder, fixed, moving = pair
    found = ants.registration(
        *(ants.image_read(str(folder / name)) for name in ("fixed.nii.gz", "moving.nii.gz")),
        type_of_transform="SyN" if fixed.grid.rank == 3 else "Affine",
        reg_iterations=(10, 5),
        aff_iterations=(20, 10),
        aff_shrink_factors=(2, 1),
        aff_smoothing_sigmas=(1, 0),
        outprefix=str(folder / "ants_"),
        random_seed=1,
    )
    affine = read_transform(folder / "ants_0GenericAffine.mat", fixed.grid, moving.grid)
    transform, back = affine, affine.inverse()
    if fixed.grid.rank == 3:
        assert [name[-12:] for name in found["fwdtransforms"]] == ["1Warp.nii.gz", "icAffine.mat"]
        transform = read_transform(folder / "ants_1Warp.nii.gz", fixed.grid, fixed.grid).compose(affine)
        back = back.compose(read_transform(folder / "ants_1InverseWarp.nii.gz", fixed.grid, fixed.grid))
    else:
        assert [name[-12:] for name in found["fwdtransforms"]] == ["icAffine.mat"]

    assert_same_image(transform, moving, *warped_by_ants(folder, found["fwdtransforms"]))
    points = some_points(fixed.grid)
    there = transform.warp_points(points, to="moving")
    assert np.abs(there - points).max() > 1
    np.testing.assert_allclose(there, moved_by_ants(points, found["fwdtransforms"]), rtol=0, atol=1e-3)

    invert = [True, False][: len(found["invtransforms"])]
    backward = warped_by_ants(folder, found["invtransforms"], "moving.nii.gz", "fixed.nii.gz", whichtoinvert=invert)
    assert_same_image(back, fixed, *backward)
    theirs = moved_by_ants(there, found["invtransforms"], whichtoinvert=invert)
    np.testing.assert_allclose(back.warp_points(there, to="moving"), theirs, rtol=0, atol=1e-3)
    # ANTs' inverse field is an inverse to some hundredths of a millimetre; ours is solved at each point.
    np.testing.assert_allclose(transform.warp_points(there, to="fixed"), points, rtol=0, atol=1e-3)
    np.testing.assert_allclose(theirs, points, rtol=0, atol=0.5)


def test_the_composite_of_ants_is_read(pair):
    """`write_composite_transform`: float parameters throughout."""
    import ants

    folder, fixed, moving = pair
    found = ants.registration(
        *(ants.image_read(str(folder / name)) for name in ("fixed.nii.gz", "moving.nii.gz")),
        type_of_transform="SyN",
        reg_iterations=(3,),
        aff_iterations=(5,),
        aff_shrink_factors=(1,),
        aff_smoothing_sigmas=(0,),
        outprefix=str(folder / "whole_"),
        random_seed=1,
        write_composite_transform=True,
    )
    transform = read_transform(found["fwdtransforms"], fixed.grid, moving.grid)
    assert [type(part) for part in transform.maps] == [Displacement, Affine]
    assert_same_image(transform, moving, *warped_by_ants(folder, [found["fwdtransforms"]]))


@pytest.mark.parametrize("kind", [None, Displacement, Velocity], ids=["affine", "displacement", "velocity"])
def test_ants_applies_what_is_written(pair, kind):
    folder, fixed, moving = pair
    rank = fixed.grid.rank
    rng = np.random.default_rng(0)
    middle = fixed.grid.to_world((np.array(fixed.grid.shape) - 1) / 2)
    matrix = np.eye(rank + 1)
    matrix[:-1, :-1] += rng.uniform(-0.1, 0.1, (rank, rank))
    matrix[:-1, -1] = middle - matrix[:-1, :-1] @ middle + [1.0, 0.0, 2.0][:rank]
    maps = [Affine(matrix)]
    if kind is not None:
        field = ndimage.gaussian_filter(rng.normal(size=(*fixed.grid.shape, rank)), (3,) * rank + (0,))
        maps.insert(0, kind(field * 1.5 / np.abs(field).max(), fixed.grid))
    transform = Transform(fixed.grid, moving.grid, tuple(maps))
    points = some_points(fixed.grid)
    for suffix in (".h5", ".tfm", ".nii.gz", ".nii") + ((".mat",) if kind is None else ()):
        path = folder / f"{kind.__name__ if kind else 'Affine'}_{suffix[1:]}{suffix}"
        write_transform(transform, path, moving)
        assert_same_image(transform, moving, *warped_by_ants(folder, [path]))
        # Between voxel centres a field of all maps is interpolated once more.
        tolerance = 0.05 if "nii" in suffix else 1e-3
        there = transform.warp_points(points, to="moving")
        np.testing.assert_allclose(moved_by_ants(points, [path]), there, rtol=0, atol=tolerance)
        if suffix == ".mat":
            back = moved_by_ants(there, [path], whichtoinvert=[True])
            np.testing.assert_allclose(back, points, rtol=0, atol=1e-3)
            inverse = warped_by_ants(folder, [path], "moving.nii.gz", "fixed.nii.gz", whichtoinvert=[True])
            assert_same_image(transform.inverse(), fixed, *inverse)
