"""A copy of one's own images: resampled to one spacing, labels merged, cropped or aligned; a HDF5 file an image.

What DDMR does to brain MR before training: 1 mm isotropic, images by cubic splines and labels by the nearest voxel,
left and right structures merged, optionally cropped around a label with a margin. Or what SVF-Net does to hearts: all
of them rigidly aligned by their labels, on one grid. Nothing is scaled to a common size: that, and the intensities, are
up to the preprocessing of a model.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.data.prepare.aligned_copies import (
    Reference,
    aligned,
    common_grid,
    transform_path,
    write_alignment,
)
from acreg.data.datasets.folder import check_source, find_records, split_rule
from acreg.data.manifest import PICTURE_SUFFIXES, Dataset, Progress
from acreg.data.records import DatasetInfo, Record, read_info, read_records, some, write_info
from acreg.data.resuming import check_least, finished_dataset, run_tasks
from acreg.data.prepare.rigid_alignment import AUTO, medoid, rigid_map, thinned
from acreg.data.prepare.steps import Steps
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
    writes_into,
)
from acreg.io.files import LARGEST
from acreg.io.point_files import check_points_format
from acreg.io.transforms import write_transform

VERSION = 1
"""Of what is done to the volumes; another number makes an interrupted run start over."""


@dataclass(frozen=True)
class _Task:
    record: Record
    out: Path
    steps: Steps
    info: DatasetInfo | None  # of the source: its spacing and labels take precedence over the files'
    reference: Reference | None = None


@dataclass(frozen=True)
class _Written:
    """The values in the labels that were written, and the spacing of the files."""

    values: tuple[int, ...]
    spacing: tuple[float, ...]


@writes_into("out")
def prepare_volumes(
    source: Path | str,
    out: Path | str,
    steps: Steps,
    seed: int = 0,
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Prepare a folder of images: ``out/images/SUBJECT.h5``, ``out/labels/SUBJECT.h5`` and the points.

    With alignment also ``out/transforms/SUBJECT.tfm``, which takes points of the common frame to the subject's own
    space, and ``out/alignment.csv``. The points are moved to the common frame then; otherwise they stay as they are.

    Where the source has a ``manifest.csv``, its subjects, splits, groups and points are used, and the names of its
    ``dataset.json``. Otherwise they are found and split as `prepare_folder` does.

    Args:
        source: the folder.
        out: another folder, to write.
        steps: what is done to each subject.
        seed: of the split, where the source has none.
        jobs: processes.
        force: prepare again where ``out`` holds a dataset of other settings.
        progress: called with (text, done, total).

    Returns:
        The dataset. If ``out`` holds it already, complete and of the same settings, nothing is done.

    Raises:
        UsageError: impossible seed or number of jobs.
        AcregError: unreadable files, labels that cannot lie on their image (see `acreg.geometry.labels_on`), a label
            that the table lacks, no voxel of the label to crop around, labels or subjects to align by missing, an
            ``out`` in use (see `prepare`).
        OSError: files cannot be written (disk full, permission); the subjects finished so far are kept.
    """
    source, out = Path(source), Path(out)
    check_least(jobs=(jobs, 1), seed=(seed, 0))
    check_source(source)
    if out.resolve() == source.resolve():
        raise UsageError(f"The copies need a folder of their own. Received: {out}, the source. Name another folder.")
    has_manifest = (source / "manifest.csv").is_file()
    records = read_records(source / "manifest.csv") if has_manifest else find_records(source, seed)
    _check_labels(records, steps)
    given = read_info(source / "dataset.json") if (source / "dataset.json").is_file() else None
    rule = "of the source's manifest.csv" if has_manifest else split_rule(seed)
    info = _info(source, records, given, steps, rule)
    finished = finished_dataset(out, info, force)
    if finished is not None:
        return finished
    write_info(out, info)
    reference = _reference(records, out, steps, given) if steps.align else None
    tasks = [_Task(record, out, steps, given, reference) for record in records]
    values, spacings = {0}, set()
    for done, written in enumerate(run_tasks(_prepare_one, tasks, jobs), 1):
        values.update(written.values)
        spacings.add(written.spacing)
        if progress:
            progress(f"Preparing {info.name}", done, len(tasks))
    if steps.merge is None and given is None:
        info.labels = {value: f"label {value}" if value else "background" for value in sorted(values)}
    info.spacing = list(spacings.pop()) if len(spacings) == 1 else None
    targets = [_target(record, out) for record in records]
    if reference is not None:
        info.preparation["alignment"] = write_alignment(out, targets, reference)
    prepared = Dataset.from_info(out, info, targets)
    prepared.save()
    return prepared


def _reference(records: list[Record], out: Path, steps: Steps, info: DatasetInfo | None) -> Reference:
    read = {
        record.subject: functools.partial(_labels, _Task(record, out, steps, info), record.labels)
        for record in records
        if record.labels is not None
    }
    subject = medoid({name: thinned(labels()) for name, labels in read.items()}) if steps.align == AUTO else steps.align
    labels = read[subject]()
    return Reference(subject, thinned(labels), common_grid(labels, _grid(labels, steps), steps.size))


def _check_labels(records: list[Record], steps: Steps) -> None:
    bare = [record.subject for record in records if record.labels is None]
    if steps.crop is not None and bare:
        raise AcregError(
            f"Cropping around a label needs labels of each subject. Received: {bare[0]} without a label file. Fill "
            "the column labels of the manifest, or leave --crop out."
        )
    if steps.align and bare:
        raise AcregError(
            f"Subjects are aligned by their labels. Received: {bare[0]} without a label file. Fill the column labels "
            "of the manifest, or leave --align out."
        )
    subjects = [record.subject for record in records]
    if steps.align not in ("", AUTO, *subjects):
        raise AcregError(
            f"Subjects are aligned to one of them, or to {AUTO}. Received: {steps.align!r}, unknown among "
            f"{len(subjects)} subjects such as {some(subjects, 3)}. Correct the name."
        )
    if steps.merge is not None and len(bare) == len(records):
        raise AcregError(
            f"Merging labels needs label files. Received: {len(bare)} subjects without any. Leave --merge out."
        )


def _info(source: Path, records: list[Record], given: DatasetInfo | None, steps: Steps, rule: str) -> DatasetInfo:
    """The contents of ``dataset.json``, as far as they are known before the files are read."""
    pictures = all(record.image.suffix.lower() in PICTURE_SUFFIXES for record in records)
    info = DatasetInfo(name=source.resolve().name, labels={}, unit="px" if pictures else "mm")
    if given is not None:
        info = given.model_copy(update={"spacing": None}, deep=True)
    preparation: dict[str, Any] = {
        "version": VERSION,
        "steps": "labels merged, resampled (images by cubic splines, labels by the nearest voxel), cropped, as given",
        "spacing": list(steps.spacing) or None,
        "crop": steps.crop,
        "margin": steps.margin,
        "merge": None,
        "split": rule,
        "subjects": len(records),
        "records": _digest(source, records),
    }
    if steps.align:
        preparation["align"] = {"reference": steps.align, "size": list(steps.size) or None}
    if steps.merge is not None:
        info.labels = dict(steps.merge.names)
        members = {name: " ".join(map(str, steps.merge.members(value))) for value, name in steps.merge.names.items()}
        preparation["merge"] = {"table": steps.merge.name, "members": members}
    info.preparation = preparation
    return info


def _digest(source: Path, records: list[Record]) -> str:
    """Another one when the source's subjects, files, splits, groups or points are others, wherever it lies."""
    rows = [
        [str(p and os.path.relpath(p, source)) for p in (r.image, r.labels, r.points)] + [r.subject, r.split, r.group]
        for r in records
    ]
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def _target(record: Record, out: Path) -> Record:
    """The record of the copy."""
    labels = points = None
    if record.labels is not None:
        labels = out / "labels" / f"{record.subject}.h5"
    if record.points is not None:
        points = out / "points" / f"{record.subject}{check_points_format(record.points)}"
    return Record(record.subject, out / "images" / f"{record.subject}.h5", labels, record.split, record.group, points)


def _prepare_one(task: _Task) -> _Written:
    record, steps, target = task.record, task.steps, _target(task.record, task.out)
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
        rigid = rigid_map(fixed=task.reference.labels, moving=thinned(labels))
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
            with atomic_path(target.points) as temporary:  # world coordinates: they hold on any grid
                shutil.copyfile(record.points, temporary)
    return _Written(() if labels is None else tuple(np.unique(labels.array).tolist()), _spacing(image.grid))


def _resampled(image: Image, labels: Image | None, record: Record, steps: Steps) -> tuple[Image, Image | None]:
    onto = _grid(image, steps)
    if labels is not None:
        array = sample_nearest(labels.array, image.grid, onto)
        if steps.crop is not None:
            start, shape = _box(array == steps.crop, onto, record, steps)
            array = array[tuple(slice(a, a + n) for a, n in zip(start, shape))]
            onto = onto.part(start, shape)
        labels = Image(array, onto, "labels", labels.name)
    return Image(sample_cubic(image.array, image.grid, onto), onto, name=image.name), labels


def _written_before(target: Record) -> _Written:
    """What an interrupted run wrote."""
    if target.labels is None:
        return _Written((), _spacing(read_image(target.image).grid))
    labels = read_labels(target.labels)
    return _Written(tuple(np.unique(labels.array).tolist()), _spacing(labels.grid))


def _spacing(grid: Grid) -> tuple[float, ...]:
    return tuple(round(s, 6) for s in grid.spacing)


def _labels(task: _Task, path: Path) -> Image:
    """A subject's merged labels, on the grid of its image."""
    return _labelled(task, path)[1]


def _labelled(task: _Task, path: Path) -> tuple[Image, Image]:
    """A subject's image and its merged labels."""
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
    return image, Image(array, image.grid, "labels", labels.name)


def _grid(image: Image, steps: Steps) -> Grid:
    """The grid of the copy, before it is cropped."""
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
