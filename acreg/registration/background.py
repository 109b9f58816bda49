"""What lies outside of a warped image: the choice, and when it should be looked at."""

from __future__ import annotations

from pathlib import Path

from acreg.errors import UsageError, argument
from acreg.geometry import Image
from acreg.geometry.transform import Border, check_border
from acreg.io.formats import by_suffix

SHARE_BELOW = 0.05
"""Part of an image's range that lies below a background in the midst of its values, at least."""


def border_and_fill(border: Border | None, fill: float | None, target: Path | None = None) -> tuple[Border, float]:
    """The border and the fill, see `Transform.warp_image`, with their defaults: constant, 0.

    Args:
        border, fill: as given, None for the default.
        target: a file to be written, where it is known.

    Raises:
        UsageError: another word, a fill that is not finite or stands beside edge values, or one that the file cannot
            hold.
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
    """That the default background, 0, lies within the values of an image; empty where it does not, or where none shows.

    Args:
        image: that was warped.
        border, fill: as given; a fill that was chosen needs no note.
        share_inside: of the fixed voxels that look inside of the image, from 0 to 1.
    """
    low, high = float(image.array.min()), float(image.array.max())
    if border == "edge" or fill is not None or low >= -SHARE_BELOW * (high - low) or share_inside >= 1:
        return ""
    return (
        f"Outside of {image.name or 'the moving image'} lies 0, where its values go from {low:g} to {high:g}. Give the "
        f"value of its background, such as {argument('fill', -1000)} for CT, or {argument('border', 'edge')}."
    )
