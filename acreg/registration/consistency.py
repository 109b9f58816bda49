"""Inverse consistency: the transform from fixed to moving against the one from moving to fixed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from acreg.geometry import Transform

POINTS = 2**14
"""Largest number of points at which the error is measured."""


class Consistency(NamedTuple):
    """How far the way there and back misses its start, in mm: the mean over points, and the 95th percentile."""

    mean: float
    p95: float

    def __str__(self) -> str:
        return f"mean {self.mean:.2f} mm, 95 % below {self.p95:.2f} mm"


def inverse_consistency(there: Transform, back: Transform, content: NDArray[np.bool_]) -> Consistency | None:
    """The error of two transforms that should be the inverse of each other.

    Args:
        there: from the fixed image to the moving one.
        back: from the moving image to the fixed one, from a registration of its own: the inverse of `there` says
            nothing.
        content: the voxels of the fixed image that count, `(*spatial)`; of these, those that map inside the moving
            image are measured, every k-th one of many.

    Returns:
        The distances of `back(there(x))` from `x`; None if no voxel is left.
    """
    voxels = np.argwhere(content)
    points = there.fixed.to_world(voxels[:: 1 + len(voxels) // POINTS])
    if not len(points):
        return None
    met = there.warp_points(points, to="moving")
    inside = there.moving.contains(there.moving.to_index(met))
    if not inside.any():
        return None
    errors = np.linalg.norm(back.warp_points(met[inside], to="moving") - points[inside], axis=1)
    return Consistency(float(errors.mean()), float(np.percentile(errors, 95)))
