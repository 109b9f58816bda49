"""The values of a warped image outside the moving image: their choice, and a note if the default is doubtful."""

from __future__ import annotations

from pathlib import Path

from acreg.errors import UsageError, argument
from acreg.geometry import Image
from acreg.geometry.transform import Border, check_border
from acreg.io.formats import by_suffix

SHARE_BELOW = 0.05
"""A background of 0 is doubtful if more than this share of the image's intensity range lies below it."""


def border_and_fill(border: Border | None, fill: float | None, target: Path | None = None) -> tuple[Border, float]:
    """The border and the fill, see `Transform.warp_image`, with their defaults: constant, 0.

    Args:
        border, fill: the arguments of the caller, None for the default.
        target: the file to be written, if it is known.

    Raises:
        UsageError: an unknown border, a fill together with edge values, or a fill that is not finite or that the file
            format cannot hold.
    """
    if border == "edge" and fill is not None:
        raise UsageError(
            f"A fill is the constant outside of an image. Received: {argument('fill', float(fill))} with "
            f"{argument('border', border)}. Leave out one."
        )
    check_border(border or "constant", fill or 0.0)
    known = None if target is None else by_suffix(target)
    if fill is not None and not 0 <= fill <= 65535 and known is not None and known.picture and known.written:
        raise UsageError(
            f"{known.name} holds values from 0 to 65535. Received: {argument('fill', float(fill))} for {target}. Give "
            f"another {argument('fill')}, or write .nii.gz."
        )
    return border or "constant", fill or 0.0


def background_note(image: Image, border: Border, fill: float | None, share_inside: float) -> str:
    """A note that the default background, 0, lies within the intensity range of an image; empty if it does not.

    Args:
        image: the image that was warped.
        border, fill: the arguments of the caller; a fill that was chosen needs no note.
        share_inside: share of the fixed voxels that map inside the image, from 0 to 1.
    """
    low, high = float(image.array.min()), float(image.array.max())
    if border == "edge" or fill is not None or low >= -SHARE_BELOW * (high - low) or share_inside >= 1:
        return ""
    return (
        f"Outside of {image.name or 'the moving image'} lies 0, where its values go from {low:g} to {high:g}. Give the "
        f"value of its background, such as {argument('fill', -1000)} for CT, or {argument('border', 'edge')}."
    )
