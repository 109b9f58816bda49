"""NIfTI: writing, and the functions for reading that `acreg.io.formats` expects here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.io.atomic import atomic_path
from acreg.io.channels import to_pixels
from acreg.io.nifti.inspection import inspect
from acreg.io.nifti.place import apart
from acreg.io.nifti.reading import read

__all__ = ["inspect", "read", "reason_against", "save_nifti", "write", "write_channels"]

SAME_PLACE = 0.01
"""Voxels by which the written sform and qform may differ."""


def write(image: Image, path: Path) -> None:
    """Write an image with its grid, float32 or int32."""
    with atomic_path(path) as temporary:
        save_nifti(image.array.T, image.grid, temporary)


def reason_against(channels: Sequence[Image]) -> str:
    """The reason why this colour image cannot be written; empty if it can."""
    if max(float(channel.array.max()) for channel in channels) > 255 or len(channels) < 3:
        return "A colour image in NIfTI has three or four channels of 8 bits."
    return ""


def write_channels(channels: Sequence[Image], path: Path) -> None:
    """Write a colour image or volume as RGB24 or RGBA32."""
    pixels = to_pixels(np.stack([channel.array for channel in channels]))
    kind = np.dtype([(name, np.uint8) for name in "RGBA"[: len(channels)]])
    with atomic_path(path) as temporary:
        save_nifti(np.ascontiguousarray(pixels.T).view(kind)[..., 0], channels[0].grid, temporary)


def save_nifti(array: np.ndarray, grid: Grid, path: Path, *, description: str = "acreg", intent: str = "none") -> None:
    """Write `(x, y, ...)`, already in NIfTI's axis order, in its own dtype with the geometry of `grid`.

    A sheared grid is written with an sform only, and `qform_code` 0.
    """
    import nibabel

    affine = grid.affine()
    if grid.plane and array.ndim == 2:
        array = array[..., None]
    image = nibabel.Nifti1Image(np.ascontiguousarray(array), affine, dtype=array.dtype)
    image.header.set_zooms(grid.spacing[::-1] + (1.0,) * (array.ndim - grid.rank))
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    image.header["descrip"] = description
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    if apart(image) > SAME_PLACE:  # a sheared grid (a tilted gantry), which a quaternion cannot represent
        image.set_qform(None, code="unknown")
    nibabel.save(image, path)
