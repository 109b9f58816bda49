"""Aligned copies: the reference stays, the others come to lie on it, each by a transform that is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acreg.data.manifest import Dataset, Record
from acreg.errors import UsageError
from acreg.geometry import Affine, Grid
from acreg.io import Image, read_image, read_labels, write_image
from acreg.io.transforms import read_transform
from studies.affine_deformable.aligned import main, write_aligned


def write_ball(folder: Path, name: str, centre: tuple[int, ...], axes: tuple[int, ...], split: str) -> Record:
    """An ellipsoid of these half axes, mm, with a smaller one inside, on a grid of 2 x 3 x 2 mm."""
    grid = Grid((24, 20, 28), (2, 3, 2), (5, -7, 11))
    at = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - grid.to_world(np.array(centre))
    ball, core = ((at**2 / np.array(half) ** 2).sum(axis=-1) < 1 for half in (axes, np.array(axes) / 2))
    record = Record(name, folder / f"images/{name}.nii.gz", folder / f"labels/{name}.nii.gz", split)
    write_image(Image((100.0 * ball + 60 * core).astype(np.float32), grid), record.image)
    write_image(Image(7 * ball.astype(np.int32), grid, kind="labels"), folder / f"labels/{name}.nii.gz")
    return record


def test_a_dataset_is_aligned(tmp_path: Path) -> None:
    records = [
        write_ball(tmp_path, "other", (14, 11, 15), (12, 15, 10), "test"),
        write_ball(tmp_path, "reference", (11, 9, 13), (15, 16, 12), "train"),
    ]
    balls = Dataset(folder=tmp_path, name="balls", records=records, label_names={0: "background", 7: "ball"})
    balls.save()
    main(["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    made = Dataset.load(tmp_path / "out")
    assert [(record.subject, record.split) for record in made.records] == [("other", "test"), ("reference", "train")]
    assert made.preparation["aligned"]["reference"] == "reference"

    other, reference = (read_labels(tmp_path / f"out/labels/{name}.nii.gz") for name in ("other", "reference"))
    original = read_labels(tmp_path / "labels/other.nii.gz")
    np.testing.assert_array_equal(reference.array, read_labels(tmp_path / "labels/reference.nii.gz").array)
    before, after = (
        2
        * ((labels.array == 7) & (reference.array == 7)).sum()
        / ((labels.array == 7).sum() + (reference.array == 7).sum())
        for labels in (original, other)
    )
    assert before < 0.7 and after > 0.9

    image, grid = read_image(tmp_path / "images/other.nii.gz"), reference.grid
    transform = read_transform(tmp_path / "out/transforms/other.tfm", grid, image.grid)
    assert all(isinstance(one, Affine) for one in transform.maps)
    found = read_image(tmp_path / "out/images/other.nii.gz")
    np.testing.assert_allclose(found.array, transform.warp_image(image).array, atol=1e-3)
    for changed, received in (
        ([replace(record, split="test") for record in records], "0 training subjects"),
        ([replace(record, labels=None) for record in records], r"without labels: \['other', 'reference'\]"),
    ):
        with pytest.raises(UsageError, match=received):
            write_aligned(replace(balls, records=changed), tmp_path / "none")
