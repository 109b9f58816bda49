"""Guides of a registration from files and from objects in memory."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.baselines.options import split_name
from acreg.errors import UsageError, argument
from acreg.geometry import Image, Transform
from acreg.io import Points, read_points
from acreg.io.inputs import ImageLike, as_image
from acreg.optimisation.names import DEFAULT, LINEAR
from acreg.registration.warping import PathLike, read_transforms, transform_list

if TYPE_CHECKING:
    from acreg.optimisation import Guides

PointsLike = str | os.PathLike[str] | Points | np.ndarray
"""A file, points, or positions ``(n, rank)`` in mm and array-axis order."""
FOR_LINEAR = ("fixed_mask", "moving_mask", "initial")
"""The guides of a linear registration."""


def check_guided(given: Collection[str], model: Any, method: Any) -> None:
    """Raise `UsageError` if guides are given to a method that does not take them.

    Args:
        given: the names of the guides that are given.
        model, method: as in `acreg.register`.
    """
    chosen = argument("method", method) if model is None else argument("model", model)
    guided = method.startswith("acreg:") if isinstance(method, str) else hasattr(method, "outcome")
    if given and (model is not None or not (method is None or guided)):
        advice = f"Leave {'it' if len(given) == 1 else 'them'} out, or register by {argument('method', DEFAULT)}."
        if "initial" in given:
            advice += (
                " To start another method from a transform, warp the moving image by it (acreg warp), register the "
                "result, and give acreg warp both transforms, the new one first."
            )
        raise UsageError(
            "Masks, landmarks, labels and an initial transform guide the methods of acreg: alone. Received: "
            f"{', '.join(map(argument, given))} with {chosen}. {advice}"
        )
    linear = isinstance(method, str) and split_name(method)[0].removeprefix("acreg:") in LINEAR
    idle = [name for name in given if name not in FOR_LINEAR] if linear else []
    if idle:
        raise UsageError(
            f"A linear registration takes {', '.join(map(argument, FOR_LINEAR))}; landmarks and labels guide a "
            f"deformation. Received: {', '.join(map(argument, idle))} with {chosen}. Leave them out, or register by "
            f"{argument('method', DEFAULT)}."
        )


def guides_of(
    fixed: Image,
    moving: Image,
    *,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    fixed_points: PointsLike | None = None,
    moving_points: PointsLike | None = None,
    initial: PathLike | Transform | Sequence[PathLike | Transform] | None = None,
    labels: tuple[Image | None, Image | None] = (None, None),
) -> Guides:
    """Read the guides of a pair.

    Args:
        fixed, moving: the images.
        fixed_mask, moving_mask: label maps; what is not 0 counts.
        fixed_points, moving_points: landmarks that correspond by their order.
        initial: one or several transforms, see `read_transforms`.
        labels: of the fixed and the moving image, which join the energy.

    Raises:
        AcregError: a file cannot be read, or a guide does not fit; see `acreg.optimisation.Guides`.
    """
    from acreg.optimisation import Guides

    parts = [] if initial is None else transform_list(initial)
    return Guides(
        fixed_mask=_mask(fixed_mask, "fixed_mask"),
        moving_mask=_mask(moving_mask, "moving_mask"),
        fixed_labels=labels[0],
        moving_labels=labels[1],
        fixed_points=_positions(fixed_points, fixed),
        moving_points=_positions(moving_points, moving),
        initial=read_transforms(parts, fixed.grid, moving.grid) if parts else None,
    )


def _mask(value: ImageLike | None, name: str) -> Image | None:
    return None if value is None else as_image(value, name, "labels")


def _positions(value: PointsLike | None, image: Image) -> np.ndarray | None:
    if value is None or isinstance(value, np.ndarray):
        return value
    points = value if isinstance(value, Points) else read_points(Path(value), image.grid.rank)
    return points.positions
