"""PNG, JPEG, TIFF, BMP and GIF, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.io.atomic import atomic_path
from acreg.io.channels import channels_agree, to_grey, to_pixels
from acreg.io.contents import Contents
from acreg.io.formats import WRITTEN_PICTURES
from acreg.io.guards import decoding
from acreg.io.pictures.headers import (
    BITS,
    FORMAT,
    PHOTOMETRIC,
    WHITE_IS_ZERO,
    check_colours,
    check_place,
    check_png,
    check_tiff,
    frames_of_imagej,
)
from acreg.io.volumes.format import read_by_itk, save_itk

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

DECODED = ("PNG", "JPEG", "TIFF", "BMP", "GIF")  # Pillow has more formats, some of which run other programs
LARGEST = 2**29
"""Largest file size in bytes: 89 million pixels of 4 bytes, and other data, some of which Pillow reads completely."""
DEEP = {"PNG": "PNGImageIO", "TIFF": "TIFFImageIO"}


def read(path: Path, labels: bool, needs_spacing: bool = True) -> tuple[np.ndarray, Grid]:
    """The array `(rows, columns)` in its own bit depth, and its grid; colour becomes grey, see `acreg.io.read_image`.

    `needs_spacing` is false if the caller gives the spacing, so that pixels need not be square.
    """
    array = _pixels(path, labels, needs_spacing)
    return array, Grid(array.shape)


def write(image: Image, path: Path) -> None:
    """Write a 2-D image, its values rounded and clipped, or labels as they are; see `acreg.io.write_image`.

    Raises:
        AcregError: a volume, or labels outside 0..65535.
    """
    if image.grid.rank != 2:
        raise AcregError(
            f"{WRITTEN_PICTURES} hold 2-D images. Received: shape {image.grid.shape} for {path}. Write it as .nii.gz."
        )
    low, high = image.array.min(), image.array.max()
    if image.kind == "labels" and (low < 0 or high > 65535):
        raise AcregError(
            f"{WRITTEN_PICTURES} hold labels 0 to 65535. Received: {low}..{high} for {path}. Write it as .nii.gz."
        )
    with atomic_path(path) as temporary:
        _save(to_pixels(image.array), temporary)


def reason_against(channels: Sequence[Image]) -> str:
    """The reason why this colour image cannot be written; empty if it can."""
    wide = max(float(channel.array.max()) for channel in channels) > 255
    if channels[0].grid.rank != 2 or (wide and len(channels) < 3):
        return f"{WRITTEN_PICTURES} hold 2-D images, and grey with alpha in 8 bits."
    return ""


def write_channels(channels: Sequence[Image], path: Path) -> None:
    """Write a 2-D colour image with 8 bits, or with 16 if the largest value is above 255."""
    pixels = to_pixels(np.stack([channel.array for channel in channels], axis=-1))
    with atomic_path(path) as temporary:
        if pixels.dtype == np.uint8:
            _save(pixels, temporary)
        else:  # Pillow does not write 16-bit colour
            save_itk(pixels, channels[0].grid, temporary, vectors=True)


def inspect(path: Path) -> Contents:
    """The contents of a picture file."""
    import PIL.Image

    array, _ = read(path, labels=False)
    with decoding(path), PIL.Image.open(path, formats=DECODED) as picture:
        return Contents({"format": str(picture.format), "stored_as": f"mode {picture.mode}"}, array)


def _pixels(path: Path, labels: bool, needs_spacing: bool) -> np.ndarray:
    import PIL.Image

    with decoding(path), _opened(path) as picture:
        deep_colour = _is_deep_colour(picture)
        # Pillow itself raises at twice its number.
        largest = (PIL.Image.MAX_IMAGE_PIXELS or 2**62) // (2 if deep_colour else 1)
        if picture.width * picture.height > largest:
            raise AcregError(
                f"A {'colour picture of 16 bits' if deep_colour else 'picture'} has at most {largest // 10**6} million "
                f"pixels, since a small file can decode to any number. Received: {path} with "
                f"{picture.width}x{picture.height}. Reduce it, or save it as .nii.gz."
            )
        decoder = DEEP.get(picture.format or "", "")
        tags = getattr(picture, "tag_v2", {})
        frames = max(getattr(picture, "n_frames", 1), frames_of_imagej(tags))
        if frames > 1:
            raise AcregError(
                f"An image file holds one frame. Received: {path} with {frames}. Save one frame, or the "
                "stack as .nii.gz."
            )
        if picture.format == "PNG":
            check_png(path, needs_spacing)
        if picture.format == "TIFF":
            check_tiff(tags, path, labels)
        check_place(picture, path, needs_spacing)
        check_colours(picture, path)
        swapped = _is_swapped(picture)
        picture.load()
        if not deep_colour and not swapped:
            return _grey_of(picture, path, labels)
    # Pillow reduces 16-bit colour to 8 bits, and reads the bytes of some files in the wrong order; ITK does not.
    return read_by_itk(path, labels, decoder)[0]


def _save(pixels: np.ndarray, path: Path) -> None:
    import PIL.Image

    PIL.Image.fromarray(pixels).save(path)


def _opened(path: Path) -> ImageFile:
    """The Pillow picture, with its header read."""
    import PIL.Image

    if path.stat().st_size > LARGEST:
        raise AcregError(
            f"A picture is a file of at most {LARGEST // 2**20} MiB. Received: {path} of "
            f"{path.stat().st_size // 2**20} MiB. Reduce it, or save it as .nii.gz."
        )
    try:
        return PIL.Image.open(path, formats=DECODED)
    except PIL.UnidentifiedImageError:
        with path.open("rb") as file:
            head = file.read(4)
        if head not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise
        raise AcregError(
            "A TIFF holds unsigned integers of 1 to 16 bits, signed integers or 32-bit floats, or RGB of 8 or 16 bits. "
            f"Received: {path}, which is damaged or of another kind. Save it as one of these, or as .nii.gz."
        ) from None


def _is_deep_colour(picture: ImageFile) -> bool:
    """Whether the file stores several channels of more than 8 bits."""
    bits = picture.tag_v2.get(BITS, 8) if hasattr(picture, "tag_v2") else 8
    if isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8:
        return True
    raw = picture.tile[0][3] if picture.tile else ""
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return isinstance(raw, str) and ";16" in raw and len(picture.getbands()) > 1


def _is_swapped(picture: ImageFile) -> bool:
    """Whether Pillow would swap bytes that libtiff has swapped: in a compressed TIFF of big-endian i2, i4 or f4."""
    return any(name == "libtiff" and args is not None and "B" in str(args[0]) for name, _, _, args in picture.tile)


def _grey_of(picture: ImageFile, path: Path, labels: bool) -> np.ndarray:
    mode = picture.mode
    if mode == "1":
        return np.asarray(picture).astype(np.uint8) * np.uint8(1 if labels else 255)
    if mode in ("P", "PA"):
        colours = np.asarray(picture.convert("RGB"))
        if labels and not channels_agree(colours):
            return np.asarray(picture.getchannel(0))
        return colours[..., 0] if channels_agree(colours) else to_grey(colours, path, labels)
    if mode == "L" or mode == "F" or mode.startswith("I"):
        return _as_stored(np.asarray(picture), getattr(picture, "tag_v2", {}))
    whole = mode in ("LA", "RGBA")
    return to_grey(np.asarray(picture if whole else picture.convert("LA" if mode == "La" else "RGB")), path, labels)


def _as_stored(array: np.ndarray, tags: Any) -> np.ndarray:
    """Grey values by TIFF tags that Pillow ignores: signed values, and 16-bit values in which 0 is white."""
    array = array.astype(array.dtype.newbyteorder("="))
    bits, kind = tags.get(BITS, (0,))[0], tags.get(FORMAT, (1,))[0]
    if bits == 8 and kind == 2:
        return array.view(np.int8)
    if bits == 32 and kind == 1:
        return array.view(np.uint32)
    if bits == 16 and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return np.iinfo(np.uint16).max - array
    return array
