"""Preparation of one subject: read, merge labels, resample, crop or align, and write."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acreg.data.prepare.aligned_copies import Reference, aligned, transform_path
from acreg.data.prepare.rigid_alignment import rigid_map, thinned_labels
from acreg.data.prepare.steps import Steps
from acreg.data.records import DatasetInfo, Record
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid, Transform, respaced, sample_cubic, sample_nearest
from acreg.io import (
    Image,
    Points,
    atomic_path,
    read_image,
    read_labelled,
    read_labels,
    read_points,
    write_image,
    write_points,
)
from acreg.io.guards import LARGEST
from acreg.io.points.formats import check_points_format
from acreg.io.transforms import write_transform


@dataclass(frozen=True)
class Task:
    """The steps for one subject, and the folder to write."""

    record: Record
    out: Path
    steps: Steps
    info: DatasetInfo | None  # of the source: its spacing and labels take precedence over those of the files
    reference: Reference | None = None


@dataclass(frozen=True)
class Written:
    """The values in the labels that were written, and the spacing of the files."""

    values: tuple[int, ...]
    spacing: tuple[float, ...]


def target_record(record: Record, out: Path) -> Record:
    """The record of the copy."""
    labels = points = None
    if record.labels is not None:
        labels = out / "labels" / f"{record.subject}.h5"
    if record.points is not None:
        points = out / "points" / f"{record.subject}{check_points_format(record.points)}"
    return Record(record.subject, out / "images" / f"{record.subject}.h5", labels, record.split, record.group, points)


def prepare_one(task: Task) -> Written:
    """Write the files of a subject, unless an interrupted run has written all of them.

    Raises:
        AcregError: see `acreg.data.prepare.copies.prepare_copies`.
        OSError: a file cannot be written.
    """
    record, steps, target = task.record, task.steps, target_record(task.record, task.out)
    wanted = [path for path in (target.image, target.labels, target.points) if path is not None]
    if task.reference is not None:
        wanted.append(transform_path(task.out, record.subject))
    if all(path.is_file() for path in wanted):
        return _written_before(target)
    labels = None
    if record.labels is None:
        image = read_image(record.image, spacing=task.info.spacing if task.info else None)
    else:
        image, labels = _labelled(task, record.labels)
    transform = None
    if task.reference is not None and labels is not None:
        rigid = rigid_map(fixed=task.reference.labels, moving=thinned_labels(labels))
        transform = Transform(task.reference.grid, image.grid, (rigid,))
        image, labels = (aligned(one, task.reference.grid, rigid) for one in (image, labels))
        write_transform(transform, transform_path(task.out, record.subject))
    else:
        image, labels = _resampled(image, labels, record, steps)
    if labels is not None and target.labels is not None:
        write_image(labels, target.labels)
    write_image(image, target.image)
    if record.points is not None and target.points is not None:
        if transform is not None:
            points = read_points(record.points, image.grid.rank)
            moved = transform.warp_points(points.positions, to="fixed")
            write_points(Points(moved, points.names, points.source), target.points)
        else:
            with atomic_path(target.points) as temporary:  # world coordinates are valid for any grid
                shutil.copyfile(record.points, temporary)
    return Written(() if labels is None else tuple(np.unique(labels.array).tolist()), _spacing(image.grid))


def _resampled(image: Image, labels: Image | None, record: Record, steps: Steps) -> tuple[Image, Image | None]:
    onto = new_grid(image, steps)
    if labels is not None:
        array = sample_nearest(labels.array, image.grid, onto)
        if steps.crop is not None:
            start, shape = _box(array == steps.crop, onto, record, steps)
            array = array[tuple(slice(a, a + n) for a, n in zip(start, shape))]
            onto = onto.part(start, shape)
        labels = replace(labels, array=array, grid=onto)
    return replace(image, array=sample_cubic(image.array, image.grid, onto), grid=onto), labels


def _written_before(target: Record) -> Written:
    """The files that an interrupted run wrote."""
    if target.labels is None:
        return Written((), _spacing(read_image(target.image).grid))
    labels = read_labels(target.labels)
    return Written(tuple(np.unique(labels.array).tolist()), _spacing(labels.grid))


def _spacing(grid: Grid) -> tuple[float, ...]:
    return tuple(round(s, 6) for s in grid.spacing)


def merged_labels(task: Task, path: Path) -> Image:
    """The merged labels of a subject on the grid of its image."""
    return _labelled(task, path)[1]


def _labelled(task: Task, path: Path) -> tuple[Image, Image]:
    """The image and the merged labels of a subject."""
    table, info = task.steps.merge, task.info
    image, labels = read_labelled(
        task.record.image, path, values=list(info.labels) if info else None, spacing=info.spacing if info else None
    )
    if table is None and labels.array.min() < 0:
        raise AcregError(
            f"Label values are 0 or more, 0 being the background. Received: {labels.array.min()} in {path}. Check "
            "that it is a label file, and number its labels from 1 on."
        )
    array = labels.array if table is None else table.apply(labels)
    return image, replace(labels, array=array, grid=image.grid)


def new_grid(image: Image, steps: Steps) -> Grid:
    """The grid of the copy of an image, before cropping.

    Raises:
        UsageError: the number of spacings differs from the number of axes.
        AcregError: the copy would be too large.
    """
    rank = image.grid.rank
    if not steps.spacing:
        return image.grid
    if len(steps.spacing) not in (1, rank):
        raise UsageError(
            f"The new spacing is one number, or one for each axis. Received: {len(steps.spacing)} numbers for "
            f"{image.name} with {rank} axes. Give 1 or {rank}."
        )
    spacing = steps.spacing * rank if len(steps.spacing) == 1 else steps.spacing
    size = 4 * math.prod(n * old / new for n, old, new in zip(image.grid.shape, image.grid.spacing, spacing))
    if size > LARGEST:
        raise AcregError(
            f"An image has at most {LARGEST // 2**30} GiB of voxels. Received: {image.name}, which would take "
            f"{size / 2**30:.0f} GiB with voxels of {' x '.join(f'{s:g}' for s in spacing)}. Give a larger spacing."
        )
    return respaced(image.grid, spacing)


def _box(mask: np.ndarray, grid: Grid, record: Record, steps: Steps) -> tuple[list[int], list[int]]:
    """First voxel and size of the label's box with the margin, within the image."""
    if not mask.any():
        raise AcregError(
            f"Each subject has the label to crop around. Received: {record.labels} without a voxel of {steps.crop} "
            "(after merging). Give another label, or leave the subject out."
        )
    start, shape = [], []
    for axis, spacing in enumerate(grid.spacing):
        inside = np.flatnonzero(mask.any(axis=tuple(d for d in range(mask.ndim) if d != axis)))
        margin = math.ceil(steps.margin / spacing - 1e-6)
        start.append(max(int(inside[0]) - margin, 0))
        shape.append(min(int(inside[-1]) + 1 + margin, grid.shape[axis]) - start[-1])
    return start, shape
