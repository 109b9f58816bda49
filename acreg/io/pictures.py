"""PNG, JPEG, TIFF, BMP and GIF, by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.files import channels_agree, decoding, to_grey
from acreg.io.picture_headers import (
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
from acreg.io.volumes import load_itk

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")  # Pillow has more formats, some of which run other programs
LARGEST = 2**29
"""Largest file size in bytes: 89 million pixels of 4 bytes, and other data, some of which Pillow reads completely."""
DEEP = {"PNG": "PNGImageIO", "TIFF": "TIFFImageIO"}


def load_picture(path: Path, labels: bool, needs_spacing: bool = True) -> np.ndarray:
    """Decode a picture to `(rows, columns)` in its own bit depth; colour becomes grey, see `acreg.io.read_image`.

    `needs_spacing` is false if the caller gives the spacing, so that pixels need not be square.
    """
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
    return load_itk(path, labels, decoder)[0]


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 or uint16 `(rows, columns)`, or uint8 `(rows, columns, channels)`, as PNG or TIFF."""
    import PIL.Image

    PIL.Image.fromarray(pixels).save(path)


def _opened(path: Path) -> Any:
    """The Pillow picture, with its header read."""
    import PIL.Image

    if path.stat().st_size > LARGEST:
        raise AcregError(
            f"A picture is a file of at most {LARGEST // 2**20} MiB. Received: {path} of "
            f"{path.stat().st_size // 2**20} MiB. Reduce it, or save it as .nii.gz."
        )
    try:
        return PIL.Image.open(path, formats=FORMATS)
    except PIL.UnidentifiedImageError:
        with path.open("rb") as file:
            head = file.read(4)
        if head not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise
        raise AcregError(
            "A TIFF holds unsigned integers of 1 to 16 bits, signed integers or 32-bit floats, or RGB of 8 or 16 bits. "
            f"Received: {path}, which is damaged or of another kind. Save it as one of these, or as .nii.gz."
        ) from None


def _is_deep_colour(picture: Any) -> bool:
    """Whether the file stores several channels of more than 8 bits."""
    bits = picture.tag_v2.get(BITS, 8) if hasattr(picture, "tag_v2") else 8
    if isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8:
        return True
    raw = picture.tile[0][3] if picture.tile else ""
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return isinstance(raw, str) and ";16" in raw and len(picture.getbands()) > 1


def _is_swapped(picture: Any) -> bool:
    """Whether Pillow would swap bytes that libtiff has swapped: in a compressed TIFF of big-endian i2, i4 or f4."""
    return any(name == "libtiff" and "B" in str(args[0]) for name, _, _, args in picture.tile)


def _grey_of(picture: Any, path: Path, labels: bool) -> np.ndarray:
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
