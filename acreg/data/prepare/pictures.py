"""``acreg data prepare``: a source folder becomes a prepared dataset of PNG images and labels.

It writes ``dataset.json`` (with the settings), then the image and labels of each subject, then ``manifest.csv``.
Every file is written atomically. So a folder with a manifest is complete; one without is from an interrupted
run, which the same command continues: subjects with existing files are kept if the settings are the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.data.datasets import get_dataset
from acreg.data.datasets.layout import Item, Layout, PublicDataset, find_layout, read_public
from acreg.data.manifest import Dataset
from acreg.data.prepare.alignment import align
from acreg.data.records import DatasetInfo, Record, write_info
from acreg.data.resuming import FILES, check_least, finished_dataset, run_tasks
from acreg.errors import UsageError
from acreg.geometry import resize_image, resize_labels
from acreg.io import Image, write_image, writes_into
from acreg.io.image_files import contents_digest
from acreg.progress import Progress, counted

VERSION = 1
"""Version of the processing of images; with another version, an interrupted run starts over."""


@dataclass(frozen=True)
class _Task:
    dataset: str
    kind: str
    item: Item
    out: Path
    size: int
    reference: Item | None


@writes_into("out")
def prepare(
    dataset: str,
    source: Path | str,
    out: Path | str,
    size: int = 256,
    seed: int = 0,
    reference: str | None = None,
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Prepare a public dataset.

    Args:
        dataset: one of `acreg.data.datasets.NAMES`.
        source: the dataset's folder, its parent, or the root of the public AC-RegNet repository.
        out: folder to write.
        size: side of the square images in pixels.
        seed: seed of the validation part, or of the whole split if the source has no lists.
        reference: subject to which original Montgomery and Shenzhen images are registered; if None, the first of the
            training split by name.
        jobs: number of processes.
        force: prepare again if ``out`` holds a dataset with other settings.
        progress: called with (text, done, total).

    Returns:
        The dataset. If ``out`` already holds it completely with the same settings, nothing is done.

    Raises:
        UsageError: unknown dataset, invalid size, seed or number of jobs, or unknown reference.
        AcregError: the source has no known layout, files are unreadable or unexpected, or ``out`` is in use: it
            holds something else, or another process writes into it.
        OSError: files cannot be written (disk full, permission); the subjects finished so far are kept.
    """
    facts = get_dataset(dataset)
    check_least(size=(size, 16), jobs=(jobs, 1), seed=(seed, 0))
    out = Path(out)
    layout = find_layout(facts, source, size, seed)
    info, reference_item = _info(facts, layout, size, seed, reference)
    finished = finished_dataset(out, info, force)
    if finished is not None:
        return finished
    write_info(out, info)
    tasks = [_Task(dataset, layout.kind, item, out, size, reference_item) for item in layout.items]
    prepared_ones = run_tasks(_prepare_one, tasks, jobs)
    for subject, aligned in counted(prepared_ones, f"Preparing {dataset}", len(tasks), progress):
        if not aligned:
            info.preparation["centred_only"] = sorted({*info.preparation.get("centred_only", []), subject})
            write_info(out, info)
    records = []
    for item in layout.items:
        image, labels = _targets(out, item.subject)
        records.append(Record(item.subject, image, labels, layout.splits[item.subject]))
    prepared = Dataset.from_info(out, info, records)
    prepared.save()
    return prepared


def _info(
    facts: PublicDataset, layout: Layout, size: int, seed: int, reference: str | None
) -> tuple[DatasetInfo, Item | None]:
    """The contents of ``dataset.json``, and the subject to register to, if the layout is registered."""
    extent, steps, item = facts.extent, "the public files, resized where the size differs", None
    registered = facts.align and layout.kind == "original"
    if reference is not None and not registered:
        raise UsageError(
            f"Only original Montgomery and Shenzhen images are registered. Received: reference={reference!r} for "
            f"{facts.name} in the {layout.kind} layout. Leave --reference out."
        )
    if registered:
        images = {item.subject: item for item in layout.items}
        reference = reference or min(s for s, split in layout.splits.items() if split == "train")
        if reference not in images:
            raise UsageError(
                f"The reference is a subject of the dataset. Received: {reference!r}. Name one such as {min(images)}."
            )
        item = images[reference]
        extent = max(facts.read_original(item)[0].shape) * facts.pixel
        steps = "padded to a square, registered by a similarity to the reference, resized"
    elif layout.kind == "original":
        steps = "resized from the original files"
    preparation: dict[str, Any] = {
        "version": VERSION,
        "layout": layout.kind,
        "steps": steps,
        "size": size,
        "seed": seed,
        "split": layout.split_rule,
        "reference": reference,
        "subjects": len(layout.items),
        "skipped": len(layout.skipped),
        FILES: contents_digest(path for item in layout.items for path in (item.image, *item.labels.values())),
    }
    info = DatasetInfo(
        name=facts.name,
        labels=facts.label_names,
        spacing=[extent / size] * 2,
        unit=facts.unit,
        licence=facts.licence,
        source=facts.source,
        preparation=preparation,
    )
    return info, item


def _targets(out: Path, subject: str) -> tuple[Path, Path]:
    return out / "images" / f"{subject}.png", out / "labels" / f"{subject}.png"


@functools.lru_cache(maxsize=1)
def _reference(dataset: str, image: Path, labels: tuple[tuple[str, Path], ...]) -> np.ndarray:
    return get_dataset(dataset).read_original(Item("reference", image, dict(labels)))[0]


def _prepare_one(task: _Task) -> tuple[str, bool]:
    image_path, labels_path = _targets(task.out, task.item.subject)
    if image_path.is_file() and labels_path.is_file():
        return task.item.subject, True
    facts, shape = get_dataset(task.dataset), (task.size, task.size)
    aligned = True
    if task.kind == "public":
        image, labels = read_public(facts, task.item)
    else:
        image, labels = facts.read_original(task.item)
    if task.reference is not None:
        reference = _reference(task.dataset, task.reference.image, tuple(task.reference.labels.items()))
        image, labels, aligned = align(image, labels, reference, task.size)
    elif image.shape != shape:
        image, labels = resize_image(image, shape), resize_labels(labels, shape)
    write_image(Image.from_array(image, name=task.item.subject), image_path)
    write_image(Image.from_array(labels, kind="labels", name=task.item.subject), labels_path)
    return task.item.subject, aligned
