"""PNG, JPEG, TIFF, BMP and GIF, by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.files import channels_agree, decoding, to_grey
from acreg.io.volumes import load_itk

BITS_PER_SAMPLE = 258  # TIFF tag
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")  # Pillow has more, some of which run other programs
DEEP = {"PNG": "PNGImageIO", "TIFF": "TIFFImageIO"}


def load_picture(path: Path, labels: bool) -> np.ndarray:
    """Decode a picture to `(rows, columns)` in its own depth; colour becomes grey, see `acreg.io.read_image`."""
    import PIL.Image

    with decoding(path), PIL.Image.open(path, formats=FORMATS) as picture:
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
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise AcregError(
                f"An image file holds one frame. Received: {path} with {frames}. Save one frame, or the "
                "stack as .nii.gz."
            )
        picture.load()
        if not deep_colour:
            return _grey_of(picture, path, labels)
    # Pillow cuts colour of 16 bits to 8; ITK keeps it.
    return load_itk(path, labels, decoder)[0]


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 or uint16 `(rows, columns)`, or uint8 `(rows, columns, channels)`, as PNG or TIFF."""
    import PIL.Image

    PIL.Image.fromarray(pixels).save(path)


def _is_deep_colour(picture: Any) -> bool:
    """Whether the file stores several channels of more than 8 bits."""
    bits = picture.tag_v2.get(BITS_PER_SAMPLE, 8) if hasattr(picture, "tag_v2") else 8
    if isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8:
        return True
    raw = picture.tile[0][3] if picture.tile else ""
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return isinstance(raw, str) and ";16" in raw and len(picture.getbands()) > 1


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
        array = np.asarray(picture)
        return array.astype(array.dtype.newbyteorder("="))
    whole = mode in ("LA", "RGBA")
    return to_grey(np.asarray(picture if whole else picture.convert("LA" if mode == "La" else "RGB")), path, labels)
