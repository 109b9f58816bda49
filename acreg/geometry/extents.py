"""The overlay of two images before any registration."""

from __future__ import annotations

from acreg.errors import images_by_name
from acreg.geometry.image import Image
from acreg.geometry.maps import Affine
from acreg.geometry.transform import Transform


@images_by_name
def unregistered(*, fixed: Image, moving: Image) -> Transform:
    """The transform without registration: it aligns the extents of both images along the same anatomical directions."""
    grids = fixed.grid.reoriented(), moving.grid.reoriented()
    return Transform(fixed.grid, moving.grid, (Affine.between_extents(*grids),))
