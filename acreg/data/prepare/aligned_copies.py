"""Copies of subjects on one common grid, each rigidly aligned by its labels, and a table of the label overlap."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.data.prepare.rigid_alignment import degrees, label_box
from acreg.data.records import Record
from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Grid, inside, sample_cubic, sample_nearest
from acreg.io import Image, read_labels
from acreg.io.csv_tables import write_table
from acreg.io.guards import LARGEST
from acreg.io.transforms import read_transform

TABLE = "alignment.csv"


@dataclass(frozen=True)
class Reference:
    """The subject to which the others are aligned.

    Attributes:
        subject: its name.
        labels: its labels around the labelled voxels, subsampled.
        grid: the grid of all aligned images, in the space of this subject.
    """

    subject: str
    labels: Image
    grid: Grid


def common_grid(labels: Image, onto: Grid, size: Sequence[int]) -> Grid:
    """The grid of all aligned images.

    Args:
        labels: label map of the reference, complete.
        onto: a grid with the spacing of the result, over the extent of the reference.
        size: voxels per axis, or one number for all axes, around the middle of the box of the labels. If empty, `onto`
            is used.

    Raises:
        UsageError: the number of axes differs.
        AcregError: the images would be too large, or there is no labelled voxel.
    """
    if not size:
        return onto
    if len(size) not in (1, onto.rank):
        raise UsageError(
            f"The common size is one number, or one for each axis. Received: {len(size)} numbers for {labels.name} "
            f"with {onto.rank} axes. Give 1 or {onto.rank}."
        )
    shape = tuple(size) * onto.rank if len(size) == 1 else tuple(size)
    if 4 * math.prod(shape) > LARGEST:
        raise AcregError(
            f"An image has at most {LARGEST // 2**30} GiB of voxels. Received: a common size of "
            f"{' x '.join(map(str, shape))}, which is {4 * math.prod(shape) / 2**30:.0f} GiB. Give a smaller one."
        )
    start, stop = label_box(labels)
    return labels.grid.centred((start + stop - 1) / 2, shape, onto.spacing)


def aligned(image: Image, grid: Grid, rigid: Affine) -> Image:
    """An image (by cubic splines) or labels (by the nearest voxel) on the common grid, resampled once.

    Voxels outside the extent of the subject get the lowest value of the image, or label 0.

    Args:
        image: image of the subject.
        grid: the common grid.
        rigid: maps points of the common frame to the space of the subject.
    """
    onto = moved_grid(grid, rigid)
    is_labels = image.kind == "labels"
    sampled = (sample_nearest if is_labels else sample_cubic)(image.array, image.grid, onto)
    array = np.where(inside(image.grid, onto), sampled, 0 if is_labels else image.array.min())
    return dataclasses.replace(image, array=array, grid=grid)


def moved_grid(grid: Grid, rigid: Affine) -> Grid:
    """The rotated and translated grid at whose voxels a subject is sampled, so that the result lies on `grid`."""
    turn = rigid.matrix[:-1, :-1]
    origin = rigid(np.asarray(grid.origin)[None])[0]
    return Grid(grid.shape, grid.spacing, tuple(origin), tuple(map(tuple, turn @ np.asarray(grid.direction))))


def transform_path(out: Path, subject: str) -> Path:
    """The path of a subject's transform in the folder of a dataset."""
    return out / "transforms" / f"{subject}.tfm"


def write_alignment(out: Path, records: Sequence[Record], reference: Reference) -> dict[str, Any]:
    """Write `alignment.csv` from the files of a finished dataset, with one row per subject.

    Its columns are the rotation in degrees, the mean Dice coefficient of the labels with those of the reference, and
    whether labels reach the edge of the common grid, where they may have been cut off.

    Returns:
        The reference, the mean of the Dice coefficients of the others, and the subjects whose labels reach the edge.
    """
    written = {record.subject: read_labels(record.labels).array for record in records if record.labels is not None}
    rows = []
    for subject, labels in written.items():
        maps = read_transform(transform_path(out, subject), reference.grid, reference.grid).maps
        turned = sum(degrees(part) for part in maps if isinstance(part, Affine))  # it has one map
        dice = _dice(labels, written[reference.subject])
        rows.append((subject, f"{turned:.2f}", f"{dice:.4f}", "yes" if _at_edge(labels) else "no"))
    write_table(out / TABLE, [("subject", "rotation_degrees", "dice_with_reference", "at_edge"), *rows], "\n")
    others = [float(dice) for subject, _, dice, _ in rows if subject != reference.subject]
    return {
        "reference": reference.subject,
        "mean_dice": round(float(np.mean(others)), 4) if others else None,
        "at_edge": [row[0] for row in rows if row[-1] == "yes"],
    }


def _dice(labels: np.ndarray, reference: np.ndarray) -> float:
    """Mean over the labels of either map."""
    values = np.union1d(labels, reference)
    found = []
    for value in values[values > 0]:
        one, other = labels == value, reference == value
        found.append(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))
    return float(np.mean(found)) if found else 0.0


def _at_edge(labels: np.ndarray) -> bool:
    middle = tuple(slice(1, -1) for _ in labels.shape)
    return bool(np.count_nonzero(labels) > np.count_nonzero(labels[middle]))
