"""Stripped heads: nothing outside of the brain is left, nothing inside is lost, the grid stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acreg.data.manifest import Dataset, Record
from acreg.errors import UsageError
from acreg.geometry import Grid
from acreg.io import Image, write_image
from studies.affine_deformable.stripped import brain_mask, main, write_stripped


def test_gaps_are_closed_and_one_voxel_is_added_up_to_the_border() -> None:
    labels = np.zeros((14, 16, 12), int)
    labels[0:9, 3:13, 3:9] = 5
    labels[3, 7, 5] = 0  # a hole
    labels[5, 3:13, 3:9] = 0  # a sulcus
    expected = np.zeros(labels.shape, bool)
    expected[0:9, 3:13, 3:9] = True
    grown = expected.copy()
    for axis in range(3):
        for step in (-1, 1):
            shifted = np.roll(expected, step, axis)
            edge = [slice(None)] * 3
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            shifted[tuple(edge)] = False
            grown |= shifted
    found = brain_mask(labels)
    assert found[labels > 0].all() and not found[~grown].any()
    assert found[3, 7, 5] and found[5, 5:11, 4:8].all() and found[9, 5:11, 4:8].all()


def test_a_dataset_is_stripped(tmp_path: Path) -> None:
    grid = Grid((14, 16, 12), (2, 1, 3), (5, -7, 11))
    labels = np.zeros(grid.shape, np.int32)
    labels[2:9, 3:13, 3:9] = 5
    write_image(Image(np.full(grid.shape, 50, np.float32), grid), tmp_path / "a.nii.gz")
    write_image(Image(labels, grid, kind="labels"), tmp_path / "l.nii.gz")
    record = Record("a", tmp_path / "a.nii.gz", tmp_path / "l.nii.gz", "test")
    heads = Dataset(folder=tmp_path, name="heads", records=[record], label_names={0: "background", 5: "brain"})
    heads.save()
    main(["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    made = Dataset.load(tmp_path / "out")
    image = made.read_image(made.records[0])
    assert made.name == "heads-stripped" and image.grid.shape == grid.shape and image.grid.spacing == grid.spacing
    np.testing.assert_array_equal(image.array, 50 * brain_mask(labels))
    np.testing.assert_array_equal(made.read_labels(made.records[0]).array, labels)
    with pytest.raises(UsageError, match="Received: a of heads, which has none"):
        write_stripped(replace(heads, records=[replace(record, labels=None)]), tmp_path / "none")
