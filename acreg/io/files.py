"""What all file formats share: the list of formats, checks before decoding, and one message for decoder errors."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acreg.errors import AcregError, UsageError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
PICTURES_WRITTEN = (".png", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
MGH = (".mgh", ".mgz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
DICOM = (".dcm", ".dicom", ".ima")
HDF5 = (".h5", ".hdf5")
READ = PICTURES + NIFTI + MGH + ITK + DICOM + HDF5
ITK_WRITTEN = (".nrrd", ".mha")
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
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


def suffix(path: Path) -> str:
    """The suffix that names the format, in lower case; `.nii.gz` counts as one suffix."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def check_utf8(path: Path) -> None:
    """Raise `AcregError` if a path is not UTF-8: ITK would end the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise AcregError(
            f"The name of a file is text in UTF-8. Received: {str(path)!a}. Rename the file or its folder; where the "
            "console is set to another encoding, set it to UTF-8, as by LC_ALL=C.UTF-8."
        ) from error


def check_name(path: Path) -> None:
    """Raise `AcregError` if a path is not UTF-8, too long, or in a folder without permission."""
    check_utf8(path)
    try:
        path.exists()
    except OSError as error:
        name = str(path)
        short = name if len(name) <= 300 else f"{name[:140]}...{name[-140:]}"
        raise AcregError(
            f"A file must be within reach. Received: {short} ({error.strerror}). Check its name and the permissions of "
            "its folder."
        ) from error


def check_file(path: Path) -> None:
    """Raise `AcregError` unless `path` is a regular, non-empty file that may be read."""
    check_name(path)
    if not path.exists():
        raise AcregError(f"The file must exist. Received: {path}. Check its name and folder.")
    if path.is_dir():
        raise AcregError(f"A single file is needed. Received: {path}, a folder. Name one file in it.")
    if not path.is_file():  # reading a pipe or a device might never end
        raise AcregError(f"A regular file is needed. Received: {path}, a pipe, device or socket. Copy it to a file.")
    if path.stat().st_size == 0:
        raise AcregError(
            f"The file must hold an image. Received: {path}, which is empty (0 bytes). Get the file again."
        )
    if not os.access(path, os.R_OK):
        raise AcregError(f"The file must be readable. Received: {path}, permission denied. Change its permissions.")


def check_writable(path: Path) -> None:
    """Raise `UsageError` unless the suffix names a format that can be written."""
    known = PICTURES_WRITTEN + NIFTI + ITK_WRITTEN + HDF5
    if suffix(path) not in known:
        raise UsageError(f"Images are written as {', '.join(known)}. Received: {path}. Choose one of these suffixes.")


def is_readable_format(path: Path) -> bool:
    """Whether the format can be read, by the suffix or, for a file without a known suffix, by the DICOM mark inside."""
    return suffix(path) in READ or has_dicom_mark(path)


def has_dicom_mark(path: Path) -> bool:
    """Whether the path is a file with DICOM's mark in it. Raises `AcregError` for one that cannot be read."""
    if not path.is_file():
        return False
    with decoding(path), path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


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


def kind(path: Path) -> str:
    """The name of a file with this suffix in messages, such as "png image"."""
    return f"{suffix(path).lstrip('.') if suffix(path) in READ else 'DICOM'} image"


@contextlib.contextmanager
def decoding(path: Path, what: str = "") -> Iterator[None]:
    """Turn any error of a decoder into one paragraph that names the file, and suppress its warnings.

    `what` names the expected content, by default an image in the format of the suffix.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except AcregError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{' '.join(str(error).split())} The file is {path}.") from error
    except MemoryError:
        raise AcregError(
            f"An {what or 'image'} must fit into memory. Received: {path}. Its header may be damaged."
        ) from None
    except (
        Exception
    ) as error:  # decoders raise many types: OSError, SyntaxError, struct.error, zlib.error, RuntimeError
        reason = " ".join(str(error).split())[-200:].rstrip(" .") or type(error).__name__
        raise AcregError(
            f"The file must be a whole {what or kind(path)}. Received: {path}, which cannot be decoded ({reason}). It "
            "may be cut off, damaged, or of another kind than its name says; get the file again or convert it."
        ) from error


@dataclass
class Channel:
    """The channel of a colour file that is read, and `of`, the number of channels."""

    number: int
    of: int = 1


_channel: ContextVar[Channel | None] = ContextVar("channel", default=None)


@contextlib.contextmanager
def one_channel(number: int) -> Iterator[Channel]:
    """Read colour images, also volumes, as one of their channels instead of as luminance."""
    wanted = Channel(number)
    before = _channel.set(wanted)
    try:
        yield wanted
    finally:
        _channel.reset(before)


def to_grey(colours: np.ndarray, path: Path, labels: bool) -> np.ndarray:
    """One channel of `(*spatial, channels)`, 2 being grey and alpha, 3 RGB, 4 RGBA; labels need equal channels.

    The result is the luminance, or the channel that `one_channel` sets.
    """
    wanted = _channel.get()
    if wanted is not None:
        wanted.of = colours.shape[-1]
        return colours[..., wanted.number]
    if colours.shape[-1] < 3 or channels_agree(colours):
        return colours[..., 0]
    if labels:
        raise AcregError(
            f"A label map has one value a pixel. Received: {path}, whose colour channels differ. Save the labels as "
            "a grey image of ids."
        )
    grey = np.zeros(colours.shape[:-1], np.float32)
    for channel, weight in enumerate(LUMINANCE):  # one by one, so that large pictures fit into memory
        grey += np.float32(weight) * colours[..., channel].astype(np.float32)
    return grey


def channels_agree(colours: np.ndarray) -> bool:
    """Whether red, green and blue are the same everywhere."""
    return bool((colours[..., 0] == colours[..., 1]).all() and (colours[..., 0] == colours[..., 2]).all())


def check_colour_rank(path: Path, rank: int) -> None:
    """Raise `AcregError` for a colour image that is not 2-D."""
    if rank != 2 and _channel.get() is None:
        raise AcregError(
            f"Colour is read from 2-D images only. Received: {path}, a colour image with {rank} axes. Save it as grey."
        )


def check_rank(path: Path, shape: Sequence[int]) -> None:
    """Raise `AcregError` for an image with other than 2 or 3 axes."""
    if len(shape) not in (2, 3):
        raise AcregError(
            f"An image has 2 or 3 axes. Received: {path} of size {tuple(shape)}. Save one frame or channel as a file."
        )
