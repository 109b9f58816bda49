"""HDF5: one dataset of voxels, with its grid in attributes."""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.files import check_rank, check_size, decoding

HEAP = b"GCOL\x01"
"""How a heap of texts begins in an HDF5 file."""
CHUNK = 64
"""Voxels an axis of a chunk that is written, at most."""


def load_hdf5(path: Path) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)`, as stored, and the grid of the dataset `image`, or of the only dataset in the file.

    The attributes `spacing`, `origin` and `direction` of the dataset are those of `Grid`, in array-axis order; what is
    absent takes `Grid`'s default.
    """
    import h5py

    with decoding(path), h5py.File(path, "r") as file:
        dataset = _dataset(file, path)
        if dataset.dtype.kind not in "biuf":
            raise AcregError(
                f"An image in HDF5 is a dataset of numbers. Received: {path} with {dataset.dtype} in {dataset.name}. "
                "Store integers or floats."
            )
        check_rank(path, dataset.shape or ())
        if dataset.is_virtual or dataset.external:
            raise AcregError(
                f"An image in HDF5 lies in the file itself. Received: {path}, where {dataset.name} points to other "
                "files. Copy the values into one file, for example by h5repack."
            )
        check_size(path, dataset.shape, dataset.dtype.itemsize, dataset.id.get_storage_size())
        known = {name: dataset.attrs[name] for name in ("spacing", "origin", "direction") if name in dataset.attrs}
        return np.asarray(dataset[()]), Grid(dataset.shape, **known)


def save_hdf5(array: np.ndarray, grid: Grid, path: Path) -> None:
    """Write `(*spatial)` as the dataset `image`, in chunks compressed by gzip, with the attributes of `load_hdf5`.

    Whole numbers are stored in the smallest type of integers that holds them, other values in their own type.
    """
    stored = _smallest(array)
    with new_hdf5(path) as file:
        chunks = tuple(min(n, CHUNK) for n in stored.shape)
        dataset = file.create_dataset("image", data=stored, chunks=chunks, compression="gzip", shuffle=True)
        for name in ("spacing", "origin", "direction"):
            dataset.attrs[name] = getattr(grid, name)


@contextmanager
def new_hdf5(path: Path, libver: str | None = None) -> Iterator[Any]:
    """An open HDF5 file that is written to `path` at the end: on a full disk HDF5 itself would stop the process."""
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


def check_transform(path: Path) -> None:
    """Raise `AcregError` for a damaged HDF5 transform, on which ITK or HDF5 itself crash, hang or take any memory."""
    import h5py

    def check(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        check_size(path, item.shape or (), item.dtype.itemsize, item.id.get_storage_size())
        if name.endswith("/TransformType") and not (_text_is_whole(content, item) and all(item[()])):
            raise AcregError(f"Each part of a transform has a type. Received: {path} without one in {name}.")

    with (
        decoding(path, "transform"),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        _check_heaps(content, path)
        with h5py.File(path, "r") as opened:
            opened.visititems(check)


def _text_is_whole(content: mmap.mmap, item: Any) -> bool:
    """Whether a dataset of one text of variable length says a plausible length, and a heap where it lies."""
    start = item.id.get_offset()
    if start is None or start + 16 > len(content):
        return False
    length, heap = struct.unpack_from("<IQ", content, start)
    return 0 < length < 2**12 and content[heap : heap + len(HEAP)] == HEAP


def _check_heaps(content: mmap.mmap, path: Path) -> None:
    """Raise `AcregError` for a damaged heap of texts: HDF5 follows the sizes in it, for ever where one is 0."""
    start = content.find(HEAP)
    while start >= 0:
        at, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
        while at + 16 <= min(end, len(content)):
            index, size = struct.unpack_from("<HxxxxxxQ", content, at)
            at += 16 + -(-size // 8) * 8 if index else max(size, 1)  # index 0 is the free rest, with its own head
            if at > end or (index == 0 and at != end):
                break
        if not end - 16 < at <= end <= len(content):
            raise AcregError(f"The file must be a whole transform. Received: {path}, whose texts are damaged.")
        start = content.find(HEAP, start + 1)


def _dataset(file: Any, path: Path) -> Any:
    import h5py

    if "TransformGroup" in file:
        raise AcregError(
            f"An image is needed. Received: {path}, which is a transform (ITK's TransformGroup is in it). Name the "
            "image that it belongs to."
        )
    found: list[h5py.Dataset] = []
    # Links to other files are not followed.
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    chosen = [dataset for dataset in found if dataset.name == "/image"] or found
    if len(chosen) != 1:
        names = ", ".join(f"{d.name.lstrip('/')} {d.shape}" for d in chosen[:10]) or "none"
        raise AcregError(
            f"An HDF5 file has a dataset named image, or a single dataset. Received: {path} with {len(chosen)}: "
            f"{names}{', ...' if len(chosen) > 10 else ''}. Name the one that is the image `image`."
        )
    return chosen[0]
