"""Extents of grids: the overlay of two images before any registration, and fields that cover an extent."""

from __future__ import annotations

import numpy as np

from acreg.errors import images_by_name
from acreg.geometry.grid import ROUNDING, Grid
from acreg.geometry.image import Image
from acreg.geometry.maps import Affine
from acreg.geometry.transform import Transform


@images_by_name
def unregistered(*, fixed: Image, moving: Image) -> Transform:
    """The transform without registration: it aligns the extents of both images along the same anatomical directions."""
    grids = fixed.grid.reoriented(), moving.grid.reoriented()
    return Transform(fixed.grid, moving.grid, (Affine.between_extents(*grids),))


def covering(field: np.ndarray, grid: Grid, extent: Grid) -> tuple[np.ndarray, Grid]:
    """A field, extended by its edge values to a grid that covers `extent`: outside its grid, a map moves nothing."""
    corners = np.stack(np.meshgrid(*([-0.5, n - 0.5] for n in extent.shape), indexing="ij"), -1).reshape(-1, grid.rank)
    reach = grid.to_index(extent.to_world(corners))
    before = np.ceil(np.maximum(-0.5 - reach.min(axis=0) - ROUNDING, 0)).astype(int)
    after = np.ceil(np.maximum(reach.max(axis=0) + 0.5 - grid.shape - ROUNDING, 0)).astype(int)
    wider = grid.part(-before, grid.shape + before + after)
    return np.pad(field, [*zip(before, after, strict=True), (0, 0)], mode="edge"), wider
