"""The options for the values outside a warped image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acreg.cli.console import note
from acreg.errors import UsageError

if TYPE_CHECKING:
    from acreg.io import Image

BorderOption = Annotated[
    Literal["constant", "edge"] | None,
    typer.Option(
        help="Values of a warped image outside the moving image: a constant (the default, as in ITK and ANTs) or the "
        "nearest edge value."
    ),
]
FillOption = Annotated[
    float | None,
    typer.Option(
        help="Constant outside the moving image. Default: 0; air in CT is -1000.", show_default=False, metavar="VALUE"
    ),
]
SHARE_BELOW = 0.05
"""A background of 0 is doubtful if more than this share of the image's intensity range lies below it."""


def border_and_fill(
    border: Literal["constant", "edge"] | None, fill: float | None, target: Path | None = None
) -> tuple[Literal["constant", "edge"], float]:
    """The options with their defaults.

    Args:
        border, fill: as given.
        target: a file to be written, where it is known.

    Raises:
        UsageError: a fill together with edge values, or a fill that the file format cannot hold.
    """
    from acreg.geometry.transform import check_border
    from acreg.io.formats import by_suffix

    if border == "edge" and fill is not None:
        raise UsageError(
            f"A fill is the constant outside of an image. Received: --fill {fill:g} with --border edge. Leave out one."
        )
    check_border(border or "constant", fill or 0.0)
    known = None if target is None else by_suffix(target)
    if fill is not None and not 0 <= fill <= 65535 and known is not None and known.picture and known.written:
        raise UsageError(
            f"{known.name} holds values from 0 to 65535. Received: --fill {fill:g} for {target}. Give another --fill, "
            "or write .nii.gz."
        )
    return border or "constant", fill or 0.0


def note_background(
    image: Image, border: Literal["constant", "edge"], fill: float | None, share_inside: Callable[[], float]
) -> None:
    """Note that the default background, 0, lies within the intensity range of an image that leaves voxels uncovered."""
    low, high = float(image.array.min()), float(image.array.max())
    if border == "constant" and fill is None and low < -SHARE_BELOW * (high - low) and share_inside() < 1:
        note(
            f"Outside of {image.name or 'the moving image'} lies 0, where its values go from {low:g} to {high:g}. "
            "Give the value of its background, such as --fill -1000 for CT, or --border edge."
        )
