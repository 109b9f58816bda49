"""Copies of your own images: resampled to one spacing, with merged labels, cropped or aligned; one HDF5 file per image.

This prepares brain MR as DDMR does before training: 1 mm isotropic, images by cubic splines and labels by the nearest
voxel, left and right structures merged, optionally cropped around a label with a margin. Or it prepares hearts as
SVF-Net does: all subjects are rigidly aligned by their labels on one grid. Nothing is scaled to a common size: this,
and the intensities, are part of the preprocessing of a model.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

from acreg._moved import warn_of_old_name
from acreg.data.datasets.folder import check_source, find_records, split_rule
from acreg.data.manifest import Dataset
from acreg.data.prepare.aligned_copies import Reference, common_grid, write_alignment
from acreg.data.prepare.rigid_alignment import AUTO, medoid, thinned_labels
from acreg.data.prepare.steps import Steps
from acreg.data.prepare.subject import Task, merged_labels, new_grid, prepare_one, target_record
from acreg.data.records import DatasetInfo, Record, read_info, read_records, write_info
from acreg.data.resuming import FILES, check_least, finished_dataset, run_tasks
from acreg.errors import AcregError, UsageError
from acreg.io import writes_into
from acreg.io.formats import is_picture
from acreg.io.image_files import contents_digest
from acreg.names import some
from acreg.progress import Progress, counted

VERSION = 1
"""Version of the processing of images; with another version, an interrupted run starts over."""


def __getattr__(name: str) -> object:
    if name == "prepare_volumes":
        warn_of_old_name(f"{__name__}.{name}", f"{__name__}.prepare_copies")
        return prepare_copies
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@writes_into("out")
def prepare_copies(
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
        seed: seed of the split, if the source has none.
        jobs: processes.
        force: prepare again where ``out`` holds a dataset of other settings.
        progress: called with (text, done, total).

    Returns:
        The dataset. If ``out`` holds it already, complete and of the same settings, nothing is done.

    Raises:
        UsageError: the seed or the number of jobs is impossible.
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
    tasks = [Task(record, out, steps, given, reference) for record in records]
    values, spacings = {0}, set()
    for written in counted(run_tasks(prepare_one, tasks, jobs), f"Preparing {info.name}", len(tasks), progress):
        values.update(written.values)
        spacings.add(written.spacing)
    if steps.merge is None and given is None:
        info.labels = {value: f"label {value}" if value else "background" for value in sorted(values)}
    info.spacing = list(spacings.pop()) if len(spacings) == 1 else None
    targets = [target_record(record, out) for record in records]
    if reference is not None:
        info.preparation["alignment"] = write_alignment(out, targets, reference)
    prepared = Dataset.from_info(out, info, targets)
    prepared.save()
    return prepared


def _reference(records: list[Record], out: Path, steps: Steps, info: DatasetInfo | None) -> Reference:
    read = {
        record.subject: functools.partial(merged_labels, Task(record, out, steps, info), record.labels)
        for record in records
        if record.labels is not None
    }
    subject = steps.align
    if subject == AUTO:
        subject = medoid({name: thinned_labels(labels()) for name, labels in read.items()})
    labels = read[subject]()
    return Reference(subject, thinned_labels(labels), common_grid(labels, new_grid(labels, steps), steps.size))


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
    pictures = all(is_picture(record.image) for record in records)
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
        FILES: contents_digest([source / "dataset.json", *(p for r in records for p in (r.image, r.labels, r.points))]),
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
