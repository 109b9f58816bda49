"""Images and labels of many subjects that are read like one array, whether they are in memory or in a file."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acreg.errors import AcregError

LEVELS = 65535
"""The stored number that stands for 1 in an image."""


class StoredArray:
    """Images or label maps `(subjects, *spatial, 1)`, read like an array by a position, a slice or a list.

    The first subjects are held in memory, the others are read from a file each time. Training draws all subjects
    equally often, so a cache of the subjects used last would be hit no more often. Several threads can read at the same
    time: reading takes no lock, and releases Python's.

    Images in [0, 1] are stored in 16 bits (see `encode`), label maps as ids in 8 or 16 bits. The values that are
    returned do not depend on where they are stored: images float32, labels int32, or both `as_stored`.

    Arguments:
        held: what is stored of the first subjects, `(held, *spatial, 1)`: uint16 for images, other integers for labels.
        images: whether these are images.
        path: a `.npy` file with all subjects, see `open`; None if all are held.
        decoded: whether values are returned as float32 or int32, else as they are stored.
    """

    def __init__(self, held: np.ndarray, images: bool, path: Path | None = None, decoded: bool = True) -> None:
        self.dtype = np.dtype(np.float32 if images else np.int32) if decoded else held.dtype
        self.shape: tuple[int, ...] = held.shape
        self._held, self._images, self._path = held, images, path
        if path is not None:
            _, self.shape, self._begin = _header(path)
            self._descriptor = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
        self._positions = np.arange(len(self))

    @classmethod
    def open(cls, path: Path, images: bool, held: int) -> StoredArray:
        """The array in a `.npy` file, with the first `held` subjects in memory.

        Raises:
            AcregError: the file is incomplete.
        """
        dtype, shape, begin = _header(path)
        if path.stat().st_size != begin + math.prod(shape) * dtype.itemsize:
            raise _incomplete(path)
        first = min(held, shape[0]), *shape[1:]
        return cls(np.fromfile(path, dtype, math.prod(first), offset=begin).reshape(first), images, path)

    def as_stored(self) -> StoredArray:
        """The same subjects, returned in the small integers in which they are stored, which a model decodes."""
        return StoredArray(self._held, self._images, self._path, decoded=False)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple):
            first, *others = index
            return self[first][tuple(others) if np.ndim(self._positions[first]) == 0 else (slice(None), *others)]
        positions = self._positions[index]
        result = np.empty((*positions.shape, *self.shape[1:]), self.dtype)
        for row, position in zip(result.reshape(-1, *self.shape[1:]), positions.ravel().tolist(), strict=True):
            if position < len(self._held):
                stored = self._held[position]
            else:
                stored = self._read(position, row if row.dtype == self._held.dtype else None)
            if row.dtype == np.float32:
                np.divide(stored, np.float32(LEVELS), out=row, dtype=np.float32)
            elif stored is not row:
                row[...] = stored
        return result

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[position] for position in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _read(self, position: int, stored: np.ndarray | None = None) -> np.ndarray:
        """What is stored of one subject in the file, written to `stored` if it is given."""
        stored = np.empty(self.shape[1:], self._held.dtype) if stored is None else stored
        left, begin = stored.data.cast("B"), self._begin + position * stored.nbytes
        while left:
            count = os.preadv(self._descriptor, [left], begin)
            if not count:
                raise _incomplete(self._path)
            left, begin = left[count:], begin + count
        return stored


Voxels = np.ndarray | StoredArray
"""Images or labels `(subjects, *spatial, channels)` from which batches are drawn."""


def encode(images: np.ndarray) -> NDArray[np.uint16]:
    """Images in [0, 1], rounded to steps of 1 / 65535: a value k / 255 or k / 65535 stays exactly as it is."""
    return np.rint(np.clip(images, 0, 1) * np.float32(LEVELS)).astype(np.uint16)


def _header(path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """The type and the shape of the array in a `.npy` file, and the position of its first number."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return dtype, shape, file.tell()


def _incomplete(path: Path | None) -> AcregError:
    return AcregError(
        f"A file of stored subjects is complete. Received: {path}, which is not. Delete its folder, then train again "
        "with --resume: the file is made again."
    )
