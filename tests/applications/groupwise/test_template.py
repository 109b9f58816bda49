"""Laws of a template: it is unbiased, gives back what is known, and a killed run goes on to the same bits."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import linalg, ndimage

import acreg
from acreg.applications.atlases.quality import label_dice
from acreg.applications.groupwise import command
from acreg.applications.groupwise.averages import mean_image
from acreg.applications.groupwise.command import Template
from acreg.applications.groupwise.states import FOLDER, Registered, States
from acreg.data.phantoms.chests import chest_phantom
from acreg.data.phantoms.hearts import heart_phantom
from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Grid, Image, Transform, Velocity
from acreg.io import read_image, read_transform, write_image
from acreg.metrics.similarity import normalized_cross_correlation as ncc
from acreg.optimisation import Settings

FAST = Settings(steps=(20, 10, 2))
SHAPE = (48, 40)


@pytest.fixture(scope="module", autouse=True)
def _compiled_once() -> Iterator[None]:
    """All groups here are registered by one engine, whose graphs serve images of one size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "Engine", functools.cache(command.Engine))
        yield


def write_all(folder: Path, images: list[np.ndarray], suffix: str = ".nii.gz", spacing: float = 2.0) -> Path:
    folder.mkdir()
    for number, array in enumerate(images):
        write_image(Image(array, Grid(array.shape, (spacing,) * array.ndim)), folder / f"s{number}{suffix}")
    return folder


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of four phantoms, with a spacing of 2 mm."""
    images = [chest_phantom(seed, SHAPE).image for seed in range(4)]
    return write_all(tmp_path_factory.mktemp("group") / "chests", images)


def make(images: Path, out: Path, **options: Any) -> Template:
    return acreg.template(images, out, **{"linear": "none", "settings": FAST, "similarity": "local_ncc", **options})


@pytest.fixture(scope="module")
def found(chests: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make(chests, tmp_path_factory.mktemp("template") / "out", rounds=3, change=0)


def test_the_template_is_in_the_middle_of_its_images(found: Template) -> None:
    rounds = [each for each in found.record["rounds"] if "change" in each]
    assert len(rounds) == 3
    for each in rounds:
        assert each["left_mm"] < 0.15 * each["spread_mm"], "after the mean was removed"
    assert rounds[-1]["mean_velocity_mm"] < 0.25 * rounds[-1]["spread_mm"], "found anew against the last template"
    assert rounds[-1]["change"] < rounds[0]["change"]


def overlap(maps: list[np.ndarray]) -> float:
    """The mean Dice of the organs among all pairs of label maps."""
    return float(np.mean([label_dice(one, other, (1, 2, 3)) for one, other in itertools.combinations(maps, 2)]))


def test_its_images_agree_more_than_before(found: Template, chests: Path) -> None:
    template = found.image
    before, after = [], []
    for number in range(4):
        folder, moving = found.subjects[f"s{number}"], read_image(chests / f"s{number}.nii.gz")
        transform = read_transform(folder / "transform.h5", template.grid, moving.grid)
        warped = transform.warp_image(moving)
        np.testing.assert_allclose(read_image(folder / "warped.nii.gz").array, warped.array, atol=0.5)
        labels = Image(chest_phantom(number, SHAPE).labels, moving.grid, kind="labels")
        before.append(Transform(template.grid, moving.grid).warp_labels(labels).array)
        after.append(transform.warp_labels(labels).array)
        inverse = read_transform(folder / "inverse_transform.h5", moving.grid, template.grid)
        points = np.array([[40.0, 30.0], [50.0, 40.0]])
        there = transform.warp_points(points, to="moving")
        np.testing.assert_allclose(inverse.warp_points(there, to="moving"), points, atol=0.2)
    assert 1 - overlap(after) < 0.7 * (1 - overlap(before))


def test_the_order_of_the_images_changes_little(found: Template, chests: Path, tmp_path: Path) -> None:
    rows = [f"{chests}/s{n}.nii.gz" for n in (2, 0, 3, 1)]
    (tmp_path / "list.csv").write_text("\n".join(["image", *rows]))
    other = make(tmp_path / "list.csv", tmp_path / "out", rounds=3, change=0, reference="s3")
    assert ncc(other.image.array, found.image.array) > 0.99


def test_the_reference_changes_little(tmp_path: Path) -> None:
    """Of images that are turned, shifted and scaled, the space of the template is in the middle whatever came first."""
    phantom, grid = chest_phantom(7, SHAPE).image, Grid(SHAPE, (2.0, 2.0))
    rng = np.random.default_rng(0)
    images = []
    for _ in range(4):
        step = np.zeros((3, 3))
        step[:2, :2] = 0.08 * rng.standard_normal((2, 2))
        step[:2, 2] = 4 * rng.standard_normal(2) - step[:2, :2] @ grid.to_world(np.array(SHAPE) / 2)
        moved = Transform(grid, grid, (Affine(linalg.expm(step)),)).warp_image(Image(phantom, grid), "edge")
        images.append(moved.array)
    folder = write_all(tmp_path / "images", images)
    one, other = (make(folder, tmp_path / name, rounds=0, linear="affine", reference=name) for name in ("s0", "s3"))
    again = Transform(one.image.grid, other.image.grid).warp_image(other.image)
    inside = np.s_[4:-4, 4:-4]
    assert ncc(one.image.array[inside], again.array[inside]) > 0.99


def test_a_killed_run_goes_on_to_the_same_bits(found: Template, chests: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for stop in ("linear 1: s2", "round 1: s1", "round 3: s0", "Writing"):

        def kill(text: str, done: int, total: int, at: str = stop) -> None:
            if text == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make(chests, out, rounds=3, change=0, progress=kill)
        assert not (out / "template.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (out / FOLDER).rglob("*.npz")}
    assert len(kept) == 4 * 4 + 4
    again = make(chests, out, rounds=3, change=0)
    assert not (out / FOLDER).exists()
    for path in sorted(found.folder.rglob("*")):
        name = path.relative_to(found.folder)
        if path.suffix == ".gz":
            np.testing.assert_array_equal(read_image(path).array, read_image(out / name).array)
        elif path.suffix == ".h5":
            with h5py.File(path) as one, h5py.File(out / name) as other:
                for number in range(1, len(one["TransformGroup"])):
                    values = [f[f"TransformGroup/{number}/TransformParameters"][:] for f in (one, other)]
                    np.testing.assert_array_equal(*values)
    assert [each.get("change") for each in again.record["rounds"]] == [
        each.get("change") for each in found.record["rounds"]
    ]
    before = (out / "template.json").read_bytes()
    make(chests, out, rounds=3, change=0)
    assert (out / "template.json").read_bytes() == before, "there is nothing left to do"
    with pytest.raises(UsageError, match=r"goes on with the settings.*rounds 3 there and 2 here.*choose another --out"):
        make(chests, out, rounds=2, change=0)


def test_changed_images_are_refused(chests: Path, tmp_path: Path) -> None:
    images = write_all(tmp_path / "images", [read_image(chests / f"s{n}.nii.gz").array for n in (0, 1)])
    make(images, tmp_path / "out", rounds=0)
    write_image(read_image(chests / "s2.nii.gz"), images / "s1.nii.gz")
    with pytest.raises(UsageError, match="goes on with the settings.*images"):
        make(images, tmp_path / "out", rounds=0)


def test_equal_images_give_that_image(tmp_path: Path) -> None:
    array = chest_phantom(5, SHAPE).image
    found = make(write_all(tmp_path / "images", [array] * 3), tmp_path / "out", rounds=2)
    assert found.record["converged"] and len(found.record["rounds"]) == 2, "the first round changes nothing"
    np.testing.assert_allclose(found.image.array, array, atol=1e-2)
    assert found.image.grid.shape == array.shape and found.image.grid.spacing == (2.0, 2.0)


def test_opposite_deformations_give_back_what_was_deformed(tmp_path: Path) -> None:
    """Of one phantom warped by the flows of v and -v, the template is the phantom."""
    phantom = chest_phantom(6, SHAPE, appearance=False)
    grid = Grid(SHAPE, (2.0, 2.0))
    noise = np.random.default_rng(0).standard_normal((*SHAPE, 2))
    v = ndimage.gaussian_filter(noise, (8, 8, 0))
    v *= 3.0 / np.abs(v).max()
    image = Image(phantom.image, grid)
    images = [Transform(grid, grid, (Velocity(s * v, grid),)).warp_image(image, "edge").array for s in (1, -1)]
    plain = mean_image(grid, [(Image(each, grid), ()) for each in images]).image.array
    found = make(write_all(tmp_path / "images", images), tmp_path / "out", rounds=3)
    inside = np.s_[4:-4, 4:-4]
    before, after = (ncc(each[inside], image.array[inside]) for each in (plain, found.image.array))
    assert after > 0.99 and 1 - after < 0.5 * (1 - before)


def test_a_volume(tmp_path: Path) -> None:
    images = [heart_phantom(seed, (8, 32, 32)).image for seed in (0, 1)]
    found = make(write_all(tmp_path / "images", images), tmp_path / "out", rounds=1)
    assert found.image.grid.shape == (8, 32, 32) and (found.folder / "preview.png").is_file()
    (_, record) = found.record["rounds"]
    assert record["left_mm"] < 0.5 * record["mean_displacement_mm"] or record["mean_displacement_mm"] < 0.1


def test_too_few_images(tmp_path: Path, chests: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    write_image(read_image(chests / "s0.nii.gz"), images / "a.nii.gz")
    with pytest.raises(UsageError, match="mean of at least two images.*with one"):
        make(images, tmp_path / "out")
    (images / "b.nii.gz").write_bytes(b"broken")
    with pytest.raises(AcregError, match="at least two images.*1 of 2 that could be registered; b: .*Correct the"):
        make(images, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"linear": "elastic"}, "one of translation, rigid.*'elastic'"),
        ({"rounds": -1}, "not negative.*rounds=-1"),
        ({"spacing": 0.0}, "positive number of mm.*spacing=0"),
        ({"similarity": "nearness"}, "nearness.*another similarity"),
        ({"reference": "x"}, "one of the images.*reference='x'"),
        ({"settings": Settings(kind="displacement")}, "needs velocities.*'displacement'"),
    ],
)
def test_wrong_arguments(chests: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(chests, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_stored_results_come_back_with_the_same_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grid = Grid((4, 5), (1 / 3, 0.7), (0.1, -1e5), ((0.6, 0.8), (-0.8, 0.6)))
    states = States(tmp_path)
    kept = Registered(Affine(np.diag([1.1, 1 / 3, 1.0])), Velocity(rng.random((4, 5, 2)), grid, 6))
    states.keep("round 1", 3, kept)
    found = states.registered("round 1", 3)
    assert found is not None and found.affine is not None and found.velocity is not None and kept.velocity is not None
    assert found.velocity.grid == grid and found.velocity.steps == 6
    np.testing.assert_array_equal(found.velocity.vectors, kept.velocity.vectors)
    np.testing.assert_array_equal(found.affine.matrix, np.diag([1.1, 1 / 3, 1.0]))
    assert states.registered("round 1", 2) is None and states.registered("round 2", 3) is None
    path = next(tmp_path.rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AcregError, match="is damaged.*Remove it"):
        states.registered("round 1", 3)


def test_the_record_is_json(found: Template) -> None:
    assert json.loads((found.folder / "template.json").read_text(encoding="utf-8")) == found.record
    assert repr(found).startswith("Template(4 of 4 images, 4 rounds: ") and found._repr_png_()[:4] == b"\x89PNG"
    page = found._repr_html_()
    assert page.startswith("<img src=") and "<td>4 registered, 0 failed</td>" in page and page.count(" SD</td>") >= 1
