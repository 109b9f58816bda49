"""Untrusted weights in HDF5, which are checked before Keras or other code uses the content of the file."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py

from acreg.errors import AcregError
from acreg.io.guards import LARGEST, check_size, try_hdf5
from acreg.io.guards.text import check_regular
from acreg.io.preset_config import WEIGHTS_LIMIT

PROGRAM = Path(try_hdf5.__file__)
TIME = 600
"""Seconds after which the reading of a file is abandoned."""
OBJECTS = 100_000
OPTIONAL = "uncertainty_weighting"
"""The name of the layer with the loss weights, which a model may have or not and which does not affect its output."""
LEVELS = 64


@contextlib.contextmanager
def open_weights(path: str | os.PathLike[str], what: str, trusted: bool = False) -> Iterator[h5py.File]:
    """Open an HDF5 file of weights for reading; errors about its content in the block name the file.

    Args:
        path: the file.
        what: the word for it in messages, such as "file of weights".
        trusted: do not read the file in another process first, which takes a third of a second.

    Raises:
        AcregError: the file is not a regular HDF5 file, is damaged, has links (within the file or to another), has
            arrays in other files or arrays that are not numbers, or has arrays with more values than are stored.
    """
    path = check_regular(path, WEIGHTS_LIMIT, what)
    if not trusted and _kills(path):
        raise AcregError(
            f"A {what} must be whole HDF5 that can be read. Received: {path}, on which the HDF5 library fails. It is "
            "damaged; get it again."
        )
    try:
        with h5py.File(path, "r") as file:
            count_values(file)
            yield file
    except AcregError as error:
        if str(path) in str(error):
            raise
        raise AcregError(f"{error} The file is {path}.") from error
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise AcregError(
            f"A {what} must be whole HDF5 that can be read. Received: {path}, which cannot be loaded ({reason}). "
            "It is cut off, damaged or of another kind; get it again."
        ) from error


def _kills(path: Path) -> bool:
    """Whether a process that reads the file crashes."""
    program = [sys.executable, str(PROGRAM), str(path)]
    try:
        done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME, check=False)
    except subprocess.TimeoutExpired:
        return True
    except OSError:  # no other process can be started
        return False
    return done.returncode not in (0, 1, 2)


def count_values(file: h5py.File) -> int:
    """The number of values in all arrays of a file, read from its headers, without `OPTIONAL`.

    Raises:
        AcregError: see `open_weights`.
    """
    seen: set[tuple[int, int]] = set()
    left: list[tuple[h5py.Group, int]] = [(file, 0)]
    values = size = 0
    while left:
        group, depth = left.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise AcregError(
                    f"Weights lie in the file itself. Received: {_shown(group, name)}, a link to elsewhere."
                )
            item = group[name]
            info = h5py.h5o.get_info(item.id)
            place = (info.fileno, info.addr)
            if place in seen or depth > LEVELS or len(seen) >= OBJECTS:
                raise AcregError(
                    f"Each array of weights has one name, in at most {LEVELS} groups, among {OBJECTS} at most. "
                    f"Received: {_shown(group, name)}, which is there twice, too deep or too many."
                )
            seen.add(place)
            if isinstance(item, h5py.Group):
                left.append((item, depth + 1))
                continue
            count = _check_array(item, _shown(group, name))
            values += 0 if OPTIONAL in group.name.split("/") else count
            size += item.nbytes
            if size > LARGEST:
                raise AcregError(f"Weights take at most {LARGEST // 2**30} GiB. Received: {size} bytes and more.")
    return values


def _check_array(item: h5py.Dataset, shown: str) -> int:
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub" or item.shape is None:
        raise AcregError(f"Weights are arrays of numbers. Received: {shown}, which is something else.")
    if item.is_virtual or item.external:
        raise AcregError(f"Weights lie in the file itself. Received: {shown}, which points to other files.")
    stored = item.id.get_storage_size()
    path = Path(item.file.filename)
    if item.size and stored > path.stat().st_size:
        raise AcregError(f"Arrays of weights lie in their file. Received: {shown}, larger than it.")
    if item.size:
        check_size(path, item.shape, item.dtype.itemsize, stored)
    return int(item.size)


def _shown(group: h5py.Group, name: str) -> str:
    return f"{group.name.rstrip('/')}/{name}"[:200]
