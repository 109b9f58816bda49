"""A split, preprocessed once: in memory if it fits, else in files from which subjects are read when they are needed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import acreg
from acreg.data.manifest import Dataset, Preprocessed
from acreg.data.records import Record
from acreg.data.stored_array import StoredArray, encode
from acreg.io import Preprocessing, atomic_path
from acreg.io.atomic import require_space
from acreg.io.documents import read_json, write_json
from acreg.io.image_files import file_states
from acreg.progress import Progress, counted

ABOUT = "subjects.json"
"""Written last, so it marks complete files."""


@dataclass(frozen=True)
class StoredSplit:
    """Subjects from which training samples.

    Attributes:
        subjects: names, in the order of the arrays.
        images: float32 `(N, *shape, 1)` in [0, 1], see `StoredArray`.
        labels: int32 `(N, *shape, 1)`, ids 0..K; None if the subjects have no label files.
        spacings: float32 `(N, rank)`, of the grid on which each image was sampled, in the unit of the dataset.
        digest: digest of names, images and labels, wherever they are stored.
    """

    subjects: list[str]
    images: StoredArray
    labels: StoredArray | None
    spacings: np.ndarray
    digest: str


def store(
    dataset: Dataset,
    records: Sequence[Record],
    preprocessing: Preprocessing,
    held: int,
    folder: Path,
    title: str,
    progress: Progress | None = None,
) -> StoredSplit:
    """Preprocess subjects; those that are not held in memory are read from files when they are needed.

    Args:
        dataset: the dataset.
        records: its subjects to store, all with labels or all without.
        preprocessing: how they are preprocessed.
        held: number of subjects that are held in memory. If these are all, no file is written.
        folder: place of the files. Those of an earlier call are used again if settings and image files are the same.
        title: text of the progress.
        progress: called with (text, done, total).

    Raises:
        AcregError: a subject cannot be read or placed on the grid; see `Dataset.preprocessed`.
        OSError: the disk is full.
    """
    labelled = records[0].labels is not None
    types = {"images": np.dtype(np.uint16)} | ({"labels": label_type(preprocessing)} if labelled else {})
    shape = (len(records), *preprocessing.shape, 1)
    read = counted(dataset.preprocessed(records, preprocessing), title, len(records), progress)
    if held >= len(records):
        arrays = {name: np.empty(shape, dtype) for name, dtype in types.items()}

        def keep(position: int, name: str, array: np.ndarray) -> None:
            arrays[name][position] = array

        facts = _store_each(records, read, types, keep)
        return _split({name: StoredArray(array, name == "images") for name, array in arrays.items()}, facts)
    place = folder / _key(dataset, records, preprocessing)
    paths = {name: place / f"{name}.npy" for name in types}
    if all(path.is_file() for path in (place / ABOUT, *paths.values())):
        facts = read_json(place / ABOUT, "list of stored subjects")
    else:
        require_space(place / ABOUT, len(records) * subject_bytes(preprocessing, labelled))
        with contextlib.ExitStack() as stack:
            temporary = {name: stack.enter_context(atomic_path(path)) for name, path in paths.items()}
            files = {name: stack.enter_context(path.open("wb")) for name, path in temporary.items()}
            for name, file in files.items():
                about = {"descr": types[name].str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, about)
            facts = _store_each(records, read, types, lambda _, name, array: files[name].write(array.data))
        write_json(place / ABOUT, facts)
    opened = {name: StoredArray.open(path, name == "images", held) for name, path in paths.items()}
    return _split(opened, facts)


def label_type(preprocessing: Preprocessing) -> np.dtype[Any]:
    """The type in which the ids of labels are stored, the smallest that holds them."""
    return np.min_scalar_type(len(preprocessing.label_values) - 1)


def subject_bytes(preprocessing: Preprocessing, labelled: bool) -> int:
    """The size of a stored subject."""
    return prod(preprocessing.shape) * (2 + (label_type(preprocessing).itemsize if labelled else 0))


def _store_each(
    records: Sequence[Record],
    read: Iterable[Preprocessed],
    types: Mapping[str, np.dtype[Any]],
    put: Callable[[int, str, np.ndarray], object],
) -> dict[str, Any]:
    """Hand each array, as it is stored, to `put`; returns the content of the JSON file."""
    digest, spacings = hashlib.sha256(), []
    for position, (record, (image, labels, spacing)) in enumerate(zip(records, read, strict=True)):
        digest.update(f"{record.subject}\n".encode())
        for name, array in (("images", encode(image)), ("labels", labels)):
            if array is not None:
                stored = np.ascontiguousarray(array, types[name])
                digest.update(stored.data)
                put(position, name, stored)
        spacings.append([float(value) for value in spacing])
    subjects = [record.subject for record in records]
    return {"subjects": subjects, "spacings": spacings, "digest": digest.hexdigest()}


def _split(arrays: Mapping[str, StoredArray], facts: Mapping[str, Any]) -> StoredSplit:
    spacings = np.array(facts["spacings"], np.float32)
    return StoredSplit(facts["subjects"], arrays["images"], arrays.get("labels"), spacings, facts["digest"])


def _key(dataset: Dataset, records: Sequence[Record], preprocessing: Preprocessing) -> str:
    """A digest of what determines the stored subjects: the version, the settings, and path, size and time of files."""
    paths = [path for record in records for path in (record.image, record.labels) if path is not None]
    facts = {
        "acreg": acreg.__version__,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "spacing": dataset.spacing if dataset.spacing_stated else None,
        "subjects": [record.subject for record in records],
        "paths": [str(path.absolute()) for path in paths],
        "files": file_states(paths),
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
