"""Limits on decompressed sizes: the header is compared with the stored size before memory is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.guards.decoding import kind

LARGEST = 2**32
"""Largest number of bytes of voxels, 4 GiB (1024 x 1024 x 1024 voxels of 4 bytes): a header can claim any size."""
DEFLATE = 1032
"""Largest number of bytes to which one byte of a gzip or zlib file decompresses."""
FREE = 5 * 2**28
"""Bytes of memory that any image may take, however small its file: an 8-bit mask of 512x512x1000 takes 1.2 GiB."""
ZEROS = 2**17
"""No gzip file has this many zero bytes in a row: an uncompressed block has 65535 bytes."""
EXPANSION = 1000
"""Largest number of bytes of memory per stored byte, for images that take more than `FREE`."""
CONVERTED = 4
"""Bytes that a value takes in memory as float32 or int32, in addition to the bytes that were read."""


def check_size(
    path: Path, shape: Sequence[int], itemsize: int, stored: int, ratio: int = DEFLATE, converted: int = CONVERTED
) -> None:
    """Raise `AcregError`, before memory is allocated, if a header announces more voxels than the file can hold.

    Args:
        path: the file.
        shape: voxels per axis, and values per voxel, as given by the header.
        itemsize: bytes per value.
        stored: number of stored bytes: the size of the file, or of the voxel file that belongs to it.
        ratio: largest number of bytes of values per stored byte; 1 without compression.
        converted: additional bytes of memory per value during reading.
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
    """Raise `AcregError` for a gzip file with many zeros in it or after it, which its reader would skip one by one.

    Compressed data have no such block, and padding is shorter.
    """
    with path.open("rb") as file:
        while block := file.read(ZEROS):
            if len(block) == ZEROS and not block.strip(b"\0"):
                raise AcregError(
                    f"The file must be a whole {kind(path)}. Received: {path}, with {ZEROS // 1024} KiB of zeros in or "
                    "behind its compressed data. It is damaged; get the file again."
                )
