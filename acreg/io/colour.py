"""Colour images, a channel at a time: what is warped keeps its colours, of which networks see the luminance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acreg.errors import AcregError
from acreg.geometry import Image
from acreg.geometry.transform import Border, Transform
from acreg.io.atomic import atomic_path
from acreg.io.files import HDF5, NIFTI, PICTURES_WRITTEN, check_writable, one_channel, suffix
from acreg.io.image import read_image
from acreg.io.nifti import save_nifti
from acreg.io.pictures import save_picture
from acreg.io.volumes import save_itk

ALPHA = {2: 1, 4: 3}
"""Where the alpha lies among so many channels."""


def read_channels(path: str | os.PathLike[str]) -> list[Image]:
    """Read each channel of a colour image as an image: grey and alpha, RGB, or RGBA; a grey file has one.

    From all that `acreg.io.read_image` reads, and from colour volumes.

    Raises:
        AcregError, UsageError: as `acreg.io.read_image`.
    """
    with one_channel(0) as found:
        images = [read_image(path)]
    for number in range(1, found.of):
        with one_channel(number):
            images.append(read_image(path))
    return images


def write_channels(channels: Sequence[Image], path: str | os.PathLike[str]) -> None:
    """Write a colour image of channels on one grid: .png, .tif (2-D), .nii, .nii.gz, .nrrd or .mha.

    PNG and TIFF hold 8 bits, or 16 when the largest value is above 255; NIfTI holds 8 (RGB24, RGBA32): values are
    rounded and clipped. NRRD and MetaImage hold float32 vectors.

    Raises:
        AcregError: the format cannot hold the image, or nothing could be written.
        UsageError: another suffix.
        OSError: the disk is full, or writing is not permitted.
    """
    path = Path(path)
    check_writable(path)
    reason = reason_against(channels, path)
    if reason:
        raise AcregError(f"{reason} Received: {len(channels)} channels for {path}. Write it as .nrrd.")
    grid, array = channels[0].grid, np.stack([channel.array for channel in channels], axis=-1)
    wide = array.max() > 255
    pixels = np.clip(np.rint(array), 0, 65535 if wide else 255).astype(np.uint16 if wide else np.uint8)
    with atomic_path(path) as temporary:
        if suffix(path) in NIFTI:
            kind = np.dtype([(name, np.uint8) for name in "RGBA"[: len(channels)]])
            stored = np.ascontiguousarray(np.moveaxis(pixels, -1, 0).T).view(kind)[..., 0]
            save_nifti(stored, grid, temporary)
        elif suffix(path) in PICTURES_WRITTEN and not wide:
            save_picture(pixels, temporary)
        else:  # Pillow writes no colour of 16 bits
            save_itk(pixels if suffix(path) in PICTURES_WRITTEN else array, grid, temporary, vectors=True)


def warp_channels(
    channels: Sequence[Image], transform: Transform, border: Border = "constant", fill: float = 0.0
) -> list[Image]:
    """Each channel warped, see `Transform.warp_image`. Outside of the image an alpha is 0, transparent."""
    alpha = ALPHA.get(len(channels))
    return [
        transform.warp_image(channel, border, 0.0 if number == alpha else fill)
        for number, channel in enumerate(channels)
    ]


def reason_against(channels: Sequence[Image], path: Path) -> str:
    """Why the format of a file cannot hold such a colour image; empty if it can."""
    wide = max(float(channel.array.max()) for channel in channels) > 255
    if suffix(path) in HDF5:
        return "An image in HDF5 has one value a voxel."
    if suffix(path) in NIFTI and (wide or len(channels) < 3):
        return "A colour image in NIfTI has three or four channels of 8 bits."
    if suffix(path) in PICTURES_WRITTEN and (channels[0].grid.rank != 2 or (wide and len(channels) < 3)):
        return "PNG and TIFF hold 2-D images, and grey with alpha in 8 bits."
    return ""
