"""Results on a made pair of volumes."""

import csv

import numpy as np
import pytest

from acreg.data.manifest import Dataset
from acreg.evaluation import MethodResult, PairScores, write_method
from acreg.geometry import Grid
from acreg.io import Image, write_displacement, write_image
from acreg.metrics import label_metrics

GRID = Grid((20, 24, 22), (3.0, 2.0, 2.0), (30.0, -20.0, -10.0))


@pytest.fixture
def bump(tmp_path):
    """A method that moves nothing, on a cuboid and a cuboid with a bump on its left; the last pair failed."""
    labels = np.zeros(GRID.shape, int)
    labels[4:14, 6:16, 4:12] = 1
    moved = labels.copy()
    moved[8:10, 10:12, 12:17] = 1
    folder = tmp_path / "data"
    folder.mkdir()
    with open(folder / "manifest.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["subject", "image", "labels", "split"])
        for name, each in (("f", labels), ("m", moved)):
            write_image(Image(50.0 * each, GRID), folder / f"{name}.nii.gz")
            write_image(Image(each, GRID, "labels"), folder / f"{name}_labels.nii.gz")
            rows.writerow([name, f"{name}.nii.gz", f"{name}_labels.nii.gz", "test"])
    assert Dataset.load(folder).records
    scores = label_metrics(moved, labels, [1], GRID.spacing)
    pairs = [PairScores("f", "m", scores, ncc=0.9), PairScores("m", "f", failure="RuntimeError: no")]
    summary = {"registers": True, "dataset": {"name": "bumps", "folder": str(folder), "unit": "mm"}}
    result = MethodResult("still", {1: "left lung"}, pairs, summary)
    write_method(result, tmp_path / "still")
    write_displacement(np.zeros((*GRID.shape, 3)), GRID, tmp_path / "still" / "f__m" / "displacement.nii.gz")
    return result
