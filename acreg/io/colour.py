"""Colour images, processed one channel at a time: warped images keep their colours; networks see the luminance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from acreg.errors import AcregError
from acreg.geometry import Image
from acreg.geometry.transform import Border, Transform
from acreg.io.channels import one_channel
from acreg.io.formats import writer
from acreg.io.image import read_image

ALPHA = {2: 1, 4: 3}
"""Index of the alpha channel, by the number of channels."""


def read_channels(path: str | os.PathLike[str]) -> list[Image]:
    """Read each channel of a colour image as an image: grey and alpha, RGB, or RGBA; a grey file has one channel.

    Reads all formats of `acreg.io.read_image`, and colour volumes.

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
    """Write channels on one grid as a colour image; the suffix, as in `acreg.io.write_image`, determines the format.

    Pictures are 2-D and hold 8 bits, or 16 when the largest value is above 255; NIfTI holds 8 (RGB24, RGBA32): values
    are rounded and clipped. NRRD and MetaImage hold float32 vectors.

    Raises:
        AcregError: the format cannot hold the image, or nothing could be written.
        UsageError: the suffix is not supported.
        OSError: the disk is full, or writing is not permitted.
    """
    path = Path(path)
    known = writer(path)
    reason = reason_against(channels, path)
    if reason:
        raise AcregError(f"{reason} Received: {len(channels)} channels for {path}. Write it as .nrrd.")
    known.module.write_channels(channels, path)


def warp_channels(
    channels: Sequence[Image], transform: Transform, border: Border = "constant", fill: float = 0.0
) -> list[Image]:
    """Warp each channel, see `Transform.warp_image`. Outside the image, an alpha channel is 0 (transparent)."""
    alpha = ALPHA.get(len(channels))
    return [
        transform.warp_image(channel, border, 0.0 if number == alpha else fill)
        for number, channel in enumerate(channels)
    ]


def reason_against(channels: Sequence[Image], path: Path) -> str:
    """The reason why the format of a file cannot hold this colour image; empty if it can."""
    known = writer(path)
    if not hasattr(known.module, "write_channels"):
        return f"An image in {known.name} has one value a voxel."
    if not hasattr(known.module, "reason_against"):
        return ""
    reason: str = known.module.reason_against(channels)
    return reason
