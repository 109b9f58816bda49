"""Two images without any registration, laid over each other in one of several ways, and fields that cover an extent."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from acreg.errors import UsageError, images_by_name
from acreg.geometry.grid import ROUNDING, Grid
from acreg.geometry.image import Image
from acreg.geometry.maps import Affine
from acreg.geometry.transform import Transform

Align = Literal["headers", "extents", "centres"]
ALIGNMENTS: tuple[Align, ...] = get_args(Align)


@images_by_name
def unregistered(*, fixed: Image, moving: Image, align: Align = "headers") -> Transform:
    """The transform without registration.

    Args:
        fixed, moving: the images.
        align: "headers", the identity in world space, where the headers of both images give their position
            (`Image.has_place`), and "extents" where one of them does not, as in pictures; "extents", the map that takes
            the extent of the fixed image to that of the moving one along the same anatomical directions, and scales one
            to the other; "centres", the translation between the centres of the extents in world space.

    Raises:
        UsageError: `align` is none of these.
        AcregError: as `Transform`.
    """
    if align not in ALIGNMENTS:
        raise UsageError(f"`align` is one of {', '.join(ALIGNMENTS)}. Received: align={align!r}. Choose one of these.")
    maps: tuple[Affine, ...] = ()
    if align == "extents" or (align == "headers" and not (fixed.has_place and moving.has_place)):
        maps = (Affine.between_extents(fixed.grid.reoriented(), moving.grid.reoriented()),)
    elif align == "centres":
        matrix = np.eye(fixed.grid.rank + 1)
        matrix[:-1, -1] = _centre(moving.grid) - _centre(fixed.grid)
        maps = (Affine(matrix),)
    return Transform(fixed.grid, moving.grid, maps)


def _centre(grid: Grid) -> np.ndarray:
    """The centre of the extent of a grid in world space, `(rank,)` in mm."""
    return grid.to_world((np.array([grid.shape]) - 1) / 2)[0]


def covering(field: np.ndarray, grid: Grid, extent: Grid) -> tuple[np.ndarray, Grid]:
    """A field, extended by its edge values to a grid that covers `extent`: outside its grid, a map moves nothing."""
    corners = np.stack(np.meshgrid(*([-0.5, n - 0.5] for n in extent.shape), indexing="ij"), -1).reshape(-1, grid.rank)
    reach = grid.to_index(extent.to_world(corners))
    before = np.ceil(np.maximum(-0.5 - reach.min(axis=0) - ROUNDING, 0)).astype(int)
    after = np.ceil(np.maximum(reach.max(axis=0) + 0.5 - grid.shape - ROUNDING, 0)).astype(int)
    wider = grid.part(-before, grid.shape + before + after)
    return np.pad(field, [*zip(before, after, strict=True), (0, 0)], mode="edge"), wider
