"""Prepared datasets: a folder with ``manifest.csv`` and, if ``acreg data prepare`` made it, ``dataset.json``.

``manifest.csv`` has the columns ``subject,image,labels,split`` and optionally ``points`` and ``group``. Relative paths
are relative to the folder of the manifest and must stay in it; use absolute paths for files elsewhere. ``split`` is
``train``, ``validation`` (or ``val``) or ``test``. The ``labels`` cell may be empty. A manifest alone is also a
dataset: its label set is then collected from all label files, and its spacing is read from them.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from acreg.data.records import (
    COLUMNS,
    SPLITS,
    DatasetInfo,
    Record,
    manifest_path,
    read_info,
    read_records,
    split_name,
    write_info,
    write_records,
)
from acreg.errors import AcregError, UsageError
from acreg.io import Image, Preprocessing, read_image, read_labelled, read_labels
from acreg.io.formats import is_picture
from acreg.names import some
from acreg.progress import Progress, counted

__all__ = ["COLUMNS", "SPLITS", "Arrays", "Dataset", "Record", "dataset_folder", "gather_info"]

MADE = {"phantoms": "acreg.data.phantoms.chests", "mni152": "acreg.data.datasets.mni152"}
"""Datasets that are made by a module in `acreg.data` with the same name."""


Preprocessed = tuple[np.ndarray, np.ndarray | None, tuple[float, ...]]
"""Image float32 `(*shape, 1)`, labels int32 `(*shape, 1)` or None, and the spacing of the grid."""


@dataclass(frozen=True)
class Arrays:
    """A split in memory.

    Attributes:
        subjects: names, in the order of the arrays.
        images: float32 ``(N, *shape, 1)``.
        labels: int32 ``(N, *shape, 1)``, ids 0..K; None if the split has no label files.
        spacings: float32 ``(N, rank)``, of the grid on which each image was sampled, in the unit of the dataset.
    """

    subjects: list[str]
    images: np.ndarray
    labels: np.ndarray | None
    spacings: np.ndarray


def gather_info(records: Sequence[Record], name: str, progress: Progress | None = None) -> DatasetInfo:
    """The information that a manifest alone lacks: the label set over *all* label files, and the spacing of the files.

    Without any label file, the label set is the background alone. The spacing is None if it differs between files.
    """
    values: set[int] = {0}
    spacings: set[tuple[float, ...]] = set()
    for record in counted(records, "Reading labels", len(records), progress):
        if record.labels is not None:
            labels = read_labels(record.labels)
            values.update(int(value) for value in np.unique(labels.array))
            spacings.add(tuple(round(float(s), 6) for s in labels.grid.spacing))
        else:
            spacings.add(tuple(round(float(s), 6) for s in read_image(record.image).grid.spacing))
    if min(values) < 0:
        raise AcregError(
            f"Label values are 0 or more, 0 being the background. Received: {min(values)} in the label files of "
            f"{name}. Check that the column labels names label files, not images."
        )
    pictures = all(is_picture(record.image) for record in records)
    names = {value: f"label {value}" if value else "background" for value in sorted(values)}
    spacing = list(next(iter(spacings))) if len(spacings) == 1 else None
    return DatasetInfo(name=name, labels=names, spacing=spacing, unit="px" if pictures else "mm")


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
        folder: the folder of its manifest.
        name: for titles and messages.
        records: the subjects, in the order of the manifest.
        label_names: value in the label files -> name, with 0 for the background; the same for every subject.
        spacing: spacing of the grid of the files, array-axis order, in ``unit``; None if each file has its own.
        unit: ``"mm"`` or ``"px"``.
        licence, source: one sentence each.
        preparation: how it was prepared (free form).
        spacing_stated: whether ``dataset.json`` states the spacing, which then replaces that of the files. If it was
            collected from the label files, it only describes them: each file is read with its own spacing.
    """

    folder: Path
    name: str
    records: list[Record]
    label_names: dict[int, str]
    spacing: tuple[float, ...] | None = None
    unit: str = "mm"
    licence: str = ""
    source: str = ""
    preparation: dict[str, Any] = field(default_factory=dict)
    spacing_stated: bool = field(default=True, compare=False)

    @classmethod
    def load(cls, folder: Path | str, progress: Progress | None = None) -> Dataset:
        """Read the folder of a dataset (or a manifest CSV). Images are not decoded; labels only without dataset.json.

        Raises:
            AcregError: see `manifest_path`, `read_records` and `read_info`.
        """
        path = manifest_path(folder)
        records = read_records(path)
        json_path = path.parent / "dataset.json"
        if json_path.is_file():
            return cls.from_info(path.parent, read_info(json_path), records)
        info = gather_info(records, path.absolute().parent.name, progress)
        return replace(cls.from_info(path.parent, info, records), spacing_stated=False)

    @classmethod
    def from_info(cls, folder: Path | str, info: DatasetInfo, records: Sequence[Record]) -> Dataset:
        """A dataset from the contents of its ``dataset.json`` and its records."""
        return cls(
            folder=Path(folder),
            name=info.name,
            records=list(records),
            label_names=dict(info.labels),
            spacing=None if info.spacing is None else tuple(info.spacing),
            unit=info.unit,
            licence=info.licence,
            source=info.source,
            preparation=dict(info.preparation),
        )

    @property
    def label_values(self) -> list[int]:
        """The values in the label files, ascending, 0 first."""
        return sorted(self.label_names)

    def split(self, name: str) -> list[Record]:
        """The records of a split (``train``, ``validation`` or ``test``); an empty list if it has none.

        Raises:
            UsageError: the name is unknown.
        """
        wanted = split_name(name)
        if wanted is None:
            raise UsageError(f"A split is one of {', '.join(SPLITS)}. Received: {name!r}. Name one of these.")
        return [record for record in self.records if record.split == wanted]

    def used_split(self, name: str) -> list[Record]:
        """The records of a split, which must not be empty.

        Raises:
            UsageError: the name is unknown, or the split is empty.
        """
        records = self.split(name)
        if not records:
            raise UsageError(
                f"The split that is used needs subjects. Received: {name} of {self.name} ({self.folder}), which has "
                "none. Choose another split, or correct the column split of its manifest."
            )
        return records

    def record(self, subject: str) -> Record:
        """The record of a subject.

        Raises:
            AcregError: the subject is unknown.
        """
        for record in self.records:
            if record.subject == subject:
                return record
        raise AcregError(
            f"A subject must be in the dataset's manifest. Received: {subject!r}, unknown to {self.name} "
            f"({len(self.records)} subjects, such as {some([r.subject for r in self.records], 3)}). Correct the name."
        )

    def read_image(self, record: Record) -> Image:
        """The image of a record in native size, with the spacing in ``dataset.json`` or else that of the file."""
        return read_image(record.image, spacing=self._spacing_to_read())

    def read_labels(self, record: Record) -> Image:
        """The labels of a record on the grid of its image; see `read_labelled`."""
        return self.read_labelled(record)[1]

    def read_labelled(self, record: Record) -> tuple[Image, Image]:
        """The image of a record, as in `read_image`, and its labels on the grid of the image.

        Raises:
            AcregError: the record has no label file, the file has a value that is not in the label set of the dataset,
                or the labels cannot be placed on the image (see `acreg.geometry.labels_on`).
        """
        if record.labels is None:
            raise AcregError(
                f"This needs a label file. Received: {record.subject} of {self.name}, whose manifest line has none. "
                "Fill its column labels."
            )
        return read_labelled(record.image, record.labels, self.label_values, self._spacing_to_read())

    def _spacing_to_read(self) -> tuple[float, ...] | None:
        return self.spacing if self.spacing_stated else None

    def load_arrays(self, split: str, preprocessing: Preprocessing, progress: Progress | None = None) -> Arrays:
        """Decode and preprocess a split once: the arrays from which training samples.

        Raises:
            UsageError: the split has no records.
            AcregError: only some of them have labels.
        """
        records = self.uniform_split(split)
        read = counted(self.preprocessed(records, preprocessing), f"Reading {split}", len(records), progress)
        images, labels, spacings = zip(*read, strict=True)
        return Arrays(
            subjects=[record.subject for record in records],
            images=np.stack(images).astype(np.float32, copy=False),
            labels=np.stack(labels).astype(np.int32, copy=False) if records[0].labels is not None else None,
            spacings=np.array(spacings, np.float32),
        )

    def uniform_split(self, name: str) -> list[Record]:
        """The records of a split, all of which have labels, or none.

        Raises:
            UsageError: see `used_split`.
            AcregError: only some of them have labels.
        """
        records = self.used_split(name)
        unlabelled = [record.subject for record in records if record.labels is None]
        if unlabelled and len(unlabelled) < len(records):
            raise AcregError(
                f"All subjects of a split have labels, or none. Received: {name} of {self.name}, where "
                f"{some(unlabelled)} lack them. Fill the column labels, or leave these subjects out."
            )
        return records

    def preprocessed(self, records: Sequence[Record], preprocessing: Preprocessing) -> Iterator[Preprocessed]:
        """Decode and preprocess subjects, one after the other."""
        for record in records:
            if record.labels is None:
                image, drawn = self.read_image(record), None
            else:
                image, drawn = self.read_labelled(record)
            grid = preprocessing.grid(image)
            labels = None if drawn is None else preprocessing.apply_labels(drawn, grid)
            yield preprocessing.apply(image, grid), labels, grid.spacing

    def save(self) -> None:
        """Write ``dataset.json``, then ``manifest.csv``, so that the manifest marks a complete dataset."""
        write_info(self.folder, self.info())
        write_records(self.folder, self.records)

    def info(self) -> DatasetInfo:
        """The contents of its ``dataset.json``."""
        return DatasetInfo(
            name=self.name,
            labels=self.label_names,
            spacing=None if self.spacing is None else list(self.spacing),
            unit=self.unit,
            licence=self.licence,
            source=self.source,
            preparation=self.preparation,
        )


def dataset_folder(name_or_path: str | Path) -> Path:
    """The folder (or CSV) of a dataset: a path, a name under ``$ACREG_DATA``, ``"phantoms"`` or ``"mni152"``.

    The last two are made on first use in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``), unless
    ``$ACREG_DATA`` has folders with these names.

    Raises:
        AcregError: there is no dataset with this name; see also `acreg.data.datasets.mni152.make_dataset`.
    """
    name = str(name_or_path)
    path = Path(name_or_path)
    if (path.is_file() and path.suffix.lower() == ".csv") or (path / "manifest.csv").is_file():
        return path
    root = os.environ.get("ACREG_DATA", "")
    if root and (Path(root) / name / "manifest.csv").is_file():
        return Path(root) / name
    if name in MADE:
        return _made_folder(name)
    if path.exists():
        manifest_path(path)  # explains what the folder lacks
    known = sorted(p.parent.name for p in Path(root).glob("*/manifest.csv")) if root else []
    where = f"ACREG_DATA={root}, with {some(known) or 'no dataset in it'}" if root else "ACREG_DATA is not set"
    raise AcregError(
        "A dataset is the path of a prepared folder, a name under the folder in ACREG_DATA, phantoms or mni152. "
        f"Received: {name!r} ({where}). Prepare it with `acreg data prepare`, or correct the name or ACREG_DATA."
    )


def _made_folder(name: str) -> Path:
    maker = importlib.import_module(MADE[name])
    # Another version of the generator makes other images, so a digest of its source is part of the folder's name.
    sources = [Path(str(maker.__file__)), Path(__file__).parent / "phantoms" / "common.py"]
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:10]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "acreg" / f"{name}-{version}"
    if not (folder / "manifest.csv").is_file():
        maker.make_dataset(folder)
    return folder
