"""How much a file may unpack to: its header is compared with what is stored, before memory is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.guards.decoding import kind

LARGEST = 2**32
"""Bytes of voxels that are read at most, 4 GiB (1024 x 1024 x 1024 voxels of 4 bytes): a header can claim any size."""
DEFLATE = 1032
"""Bytes that a byte of a file compressed by gzip or zlib stands for at most."""
FREE = 5 * 2**28
"""Bytes of memory that any image may take, however small its file: a mask of 512x512x1000 in 8 bit takes 1.2 GiB."""
ZEROS = 2**17
"""Bytes of 0 that no gzip file has in a row: a block that is stored as it is has 65535 bytes."""
EXPANSION = 1000
"""Bytes of memory that a stored byte may become where these are more than `FREE`."""
CONVERTED = 4
"""Bytes that a value takes in memory as float32 or int32, beside those that were read."""


def check_size(
    path: Path, shape: Sequence[int], itemsize: int, stored: int, ratio: int = DEFLATE, converted: int = CONVERTED
) -> None:
    """Raise `AcregError`, before memory is taken, if a header announces more voxels than there can be.

    Args:
        path: the file.
        shape: voxels by axis, and values a voxel, as the header has it.
        itemsize: bytes a value.
        stored: bytes that hold the values: the size of the file, or of the file of voxels that belongs to it.
        ratio: bytes of values that a stored byte stands for at most; 1 where nothing is compressed.
        converted: bytes a value that reading takes beside those that are stored.
    """
    count = math.prod(int(n) for n in shape)
    announced = count * itemsize
    sizes = "x".join(str(int(n)) for n in shape)
    if announced > stored * ratio:
        raise AcregError(
            f"The file must be a whole {kind(path)}. Received: {path}, whose header announces {sizes} values "
            f"of {itemsize} bytes, where {stored} bytes are stored. It is cut off or damaged; get the file again."
        )
    if count * max(itemsize, CONVERTED) > LARGEST:
        raise AcregError(
            f"An image has at most {LARGEST // 2**30} GiB of voxels, of 4 bytes or more each. Received: {path} with "
            f"{sizes} values of {itemsize} bytes. Crop it, or resample it to larger voxels."
        )
    needed = count * (itemsize + converted)
    if needed > max(FREE, stored * EXPANSION):
        raise AcregError(
            f"A file of {stored} bytes becomes at most {max(FREE, stored * EXPANSION) / 2**30:.1f} GiB in memory, "
            f"since small files can unpack to any size. Received: {path} with {sizes} values, which take "
            f"{needed / 2**30:.1f} GiB. If it is what it should be, store it uncompressed (gunzip, h5repack)."
        )


def check_packed(path: Path) -> None:
    """Raise `AcregError` for a gzip file with zeros in or behind it, which its reader would pass over one by one.

    Packed data have no such block, and padding is shorter.
    """
    with path.open("rb") as file:
        while block := file.read(ZEROS):
            if len(block) == ZEROS and not block.strip(b"\0"):
                raise AcregError(
                    f"The file must be a whole {kind(path)}. Received: {path}, with {ZEROS // 1024} KiB of zeros in or "
                    "behind its compressed data. It is damaged; get the file again."
                )
