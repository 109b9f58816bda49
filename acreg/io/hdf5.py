"""HDF5: one dataset of voxels, with its grid in attributes; and the datasets of any HDF5 file, read with care."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.io.atomic import atomic_path
from acreg.io.channels import check_rank
from acreg.io.guards import CONVERTED, check_size, decoding
from acreg.io.guards.isolation import decode

PLACE = ("spacing", "origin", "direction", "plane")
"""The arguments of `Grid` that are attributes of a dataset."""
CHUNK = 64
"""Largest number of voxels per axis of a chunk that is written."""
LARGEST_CHUNK = 2**28
"""Largest size in bytes of a chunk that is read: HDF5 decompresses a chunk as a whole, and several times."""


@dataclass(frozen=True)
class Stored:
    """The description of a dataset in an HDF5 file.

    Args:
        name: its path, without the first slash.
        shape: empty for a single value, None for no value.
        dtype: type of numbers, otherwise "".
        described: its type in words.
        stored: number of bytes in the file that hold its values.
        chunks: the shape of a chunk, empty if the dataset is contiguous.
        elsewhere: whether values are in other files.
        attributes: numbers by name, and for other attributes the type in words.
        text: the text of a dataset that is a single text.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    described: str
    stored: int
    chunks: tuple[int, ...]
    elsewhere: bool
    attributes: Mapping[str, Any]
    text: str = ""


def read_datasets(path: Path) -> dict[str, Stored]:
    """The datasets of a file by name. Links are not followed; `elsewhere` marks datasets with values in other files."""
    facts, _ = decode("hdf5_datasets", path)
    return {
        found["name"]: Stored(
            **{
                **found,
                "shape": None if found["shape"] is None else tuple(found["shape"]),
                "chunks": tuple(found["chunks"]),
            }
        )
        for found in facts["datasets"]
    }


def read_values(path: Path, datasets: Sequence[Stored], converted: int = CONVERTED) -> list[np.ndarray]:
    """The values of datasets of numbers, after a check of the memory that they need.

    Raises:
        AcregError: values are in another file, are not numbers, or are fewer or more than a file of this size can hold.
    """
    for dataset in datasets:
        if dataset.elsewhere:
            raise AcregError(
                f"What is read from an HDF5 file lies in the file itself. Received: {path}, where {dataset.name} "
                "points to other files. Copy the values into one file, for example by h5repack."
            )
        if not dataset.dtype or dataset.shape is None:
            raise AcregError(
                f"A dataset of numbers is needed. Received: {path} with {dataset.described} in {dataset.name}. Store "
                "integers or floats."
            )
        itemsize = np.dtype(dataset.dtype).itemsize
        stored = min(dataset.stored, path.stat().st_size)  # chunks may overlap
        check_size(path, dataset.shape, itemsize, stored, converted=converted)
        if math.prod(dataset.chunks) * itemsize > LARGEST_CHUNK:
            raise AcregError(
                f"A chunk of an HDF5 dataset has at most {LARGEST_CHUNK // 2**20} MiB. Received: {path} with chunks of "
                f"{dataset.chunks} in {dataset.name}. Store it in smaller chunks, for example by h5repack."
            )
    size = sum(math.prod(dataset.shape or ()) * np.dtype(dataset.dtype).itemsize for dataset in datasets)
    return decode("hdf5_values", path, size, names=[dataset.name for dataset in datasets])[1]


def read(path: Path, labels: bool = False, needs_spacing: bool = True) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)`, as stored, and the grid of the dataset `image`, or of the only dataset in the file.

    The attributes `spacing`, `origin`, `direction` and `plane` of the dataset are those of `Grid`, in array-axis order;
    absent ones take the defaults of `Grid`.
    """
    with decoding(path):
        dataset = _image(path)
        if dataset.dtype:
            check_rank(path, dataset.shape or ())
        (array,) = read_values(path, [dataset])
        known = {name: dataset.attributes[name] for name in PLACE if name in dataset.attributes}
        return array, Grid(array.shape, **known)


def write(image: Image, path: Path) -> None:
    """Write an image as the dataset `image`, in chunks compressed by gzip, with the attributes that `read` reads.

    Integers are stored in the smallest integer type that holds them, other values in their own type.
    """
    stored = _smallest(image.array)
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        chunks = tuple(min(n, CHUNK) for n in stored.shape)
        dataset = file.create_dataset("image", data=stored, chunks=chunks, compression="gzip", shuffle=True)
        for name in PLACE:
            if np.size(getattr(image.grid, name)):
                dataset.attrs[name] = getattr(image.grid, name)


@contextmanager
def new_hdf5(path: Path, libver: str | None = None) -> Iterator[Any]:
    """An open HDF5 file that is written to `path` at the end: on a full disk, HDF5 itself would crash the process."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        yield file
    path.write_bytes(buffer.getbuffer())


def _smallest(array: np.ndarray) -> np.ndarray:
    low, high = array.min(), array.max()
    if max(-low, high) > np.iinfo(np.int32).max or (array.dtype.kind == "f" and (np.rint(array) != array).any()):
        return array
    widest = high if low >= 0 else min(low, -high - 1)  # a signed type reaches from -n - 1 to n
    return array.astype(np.min_scalar_type(int(widest)))


def _image(path: Path) -> Stored:
    found = read_datasets(path)
    if any(name.split("/")[0] == "TransformGroup" for name in found):
        raise AcregError(
            f"An image is needed. Received: {path}, which is a transform (ITK's TransformGroup is in it). Name the "
            "image that it belongs to."
        )
    chosen = [found["image"]] if "image" in found else list(found.values())
    if len(chosen) != 1:
        names = ", ".join(f"{d.name} {d.shape}" for d in chosen[:10]) or "none"
        raise AcregError(
            f"An HDF5 file has a dataset named image, or a single dataset. Received: {path} with {len(chosen)}: "
            f"{names}{', ...' if len(chosen) > 10 else ''}. Name the one that is the image `image`."
        )
    return chosen[0]
