"""A network's grid from the sizes of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acreg.data.manifest import Dataset, Record
from acreg.geometry import Grid
from acreg.io import Image, write_image
from acreg.training.grids import Sizes, covering_grid, inner_grid, read_sizes, scaled_shape, with_grid
from acreg.training.recipe import load_recipe


def sizes(*extents: tuple[float, ...], spacing: tuple[float, ...]) -> Sizes:
    return Sizes(np.array(extents), spacing, (1,) * len(spacing))


def write_volumes(folder: Path, shapes: list[tuple[int, ...]], spacing: tuple[float, ...]) -> Path:
    """A dataset of noise with one image per shape."""
    rng, records = np.random.default_rng(0), []
    for number, shape in enumerate(shapes):
        path = folder / f"{number}.nii.gz"
        image = Image(rng.random(shape).astype(np.float32), Grid(shape, spacing=spacing))
        write_image(image, path)
        records.append(Record(str(number), path, None, "train"))
    Dataset(folder=folder, name="volumes", records=records, label_names={0: "background"}).save()
    return folder


def test_the_grid_covers_every_image_at_its_spacing() -> None:
    found = covering_grid(sizes((40, 40, 30), (20, 50, 40), spacing=(1, 1, 1)), 64**3)
    assert found == ((48, 64, 48), (1, 1, 1))
    found = covering_grid(sizes((40, 40, 30), (20, 50, 40), spacing=(1, 1, 1)), 64**3, spacing=(2, 2, 2))
    assert found == ((32, 32, 32), (2, 2, 2))


def test_too_many_voxels_raise_the_finest_spacings_first() -> None:
    head = sizes((180, 220, 180), spacing=(1, 1, 1))
    shape, spacing = covering_grid(head, 32**3)
    assert np.prod(shape) <= 2 * 32**3
    assert np.all(np.multiply(shape, spacing) >= (180, 220, 180))
    assert spacing == pytest.approx((6, 6, 6), abs=0.5), "as the recipes of IXI, which have so many voxels"
    heart = sizes((96, 300, 300), spacing=(8, 1.25, 1.25))
    shape, spacing = covering_grid(heart, 16 * 64 * 64)
    assert (shape[0], spacing[0]) == (16, 8), "a thick slice stays a row"
    assert spacing[1] == spacing[2] > 1.25
    assert np.all(np.multiply(shape, spacing) >= (96, 300, 300))


def test_a_grid_within_the_images_has_their_smallest_extents() -> None:
    extents = [(35 + i % 3, 50 + i % 5, 36 + i % 4) for i in range(32)]
    shape, spacing = inner_grid(sizes(*extents, spacing=(1, 1, 1)), 48**3)
    assert shape == (48, 64, 48)
    assert np.multiply(shape, spacing) == pytest.approx((35, 50, 36), rel=0.01)


def test_a_grid_without_a_spacing_has_the_proportions_of_the_images() -> None:
    assert scaled_shape(sizes((300, 300), spacing=(1, 1)), 64**2) == (64, 64)
    assert scaled_shape(sizes((200, 400), (400, 800), spacing=(1, 1)), 64**2) == (48, 96)


def test_sizes_are_of_the_content_along_the_axes_of_the_network(tmp_path: Path) -> None:
    array = np.zeros((20, 24, 30), np.float32)
    array[4:16, :, 5:] = np.random.default_rng(0).random((12, 24, 25))
    turned = Grid((20, 24, 30), spacing=(1.0, 2.0, 3.0), direction=np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]]))
    write_image(Image(array, turned), tmp_path / "a.nii.gz")
    records = [Record("a", tmp_path / "a.nii.gz", None, "train")]
    dataset = Dataset(folder=tmp_path, name="one", records=records, label_names={0: "background"})
    found = read_sizes(dataset, records)
    assert sorted(found.extents[0]) == [12, 48, 75]
    inner = dataset.read_image(records[0]).grid.reoriented()
    assert found.spacing == pytest.approx(inner.spacing)
    assert found.shape == inner.shape
    assert np.all(found.extents[0] <= np.multiply(inner.shape, inner.spacing))


def test_volumes_without_a_shape_get_a_grid_that_covers_them(tmp_path: Path) -> None:
    write_volumes(tmp_path, [(12, 20, 30), (14, 18, 40)], (3.0, 1.0, 1.0))
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"data: {{dataset: {tmp_path}, validation_split: none}}\ntraining: {{steps: 2}}\n", encoding="utf-8"
    )
    said: list[str] = []
    found = with_grid(load_recipe(path), said.append)
    assert (found.data.shape, found.data.spacing) == ((16, 32, 48), (3.0, 1.0, 1.0))
    assert said == [
        "The recipe leaves data.shape out. Grid that covers the images: data.shape=[16, 32, 48], "
        "data.spacing=[3.0, 1.0, 1.0]"
    ]
    assert with_grid(load_recipe(path)) == found, "so that a run can be resumed"
    assert with_grid(load_recipe(path, ["data.spacing=[3,3,3]"])).data.shape == (16, 16, 16)
    given = load_recipe(path, ["data.shape=[16,16,16]"])
    assert with_grid(given) is given


def test_pictures_without_a_shape_keep_the_default(discs: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"data: {{dataset: {discs}}}\ntraining: {{steps: 2}}\n", encoding="utf-8")
    assert with_grid(load_recipe(path)).data.shape == (64, 64)
