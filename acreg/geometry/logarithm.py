"""The stationary velocity whose flow is a given displacement."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry.displacement import check_displacement, voxel_indices, warp_array
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Velocity

GAIN = 0.05
"""If an iteration reduces the mean residual by less than this share, the next step is halved."""


class Logarithm(NamedTuple):
    """A velocity `(*spatial, rank)`, float32 in voxels per unit time, and how far its flow is from the displacement.

    The residuals are lengths `|exp(velocity) - displacement|` in voxels, over the voxels that the displacement leaves
    inside the grid.
    """

    velocity: np.ndarray
    mean_residual: float
    largest_residual: float


def logarithm(
    displacement: np.ndarray, steps: int = 7, iterations: int = 30, smoothing: float = 1.0, tolerance: float = 0.01
) -> Logarithm:
    """Find the velocity `v` with `exp(v) = p -> p + u(p)`, by iteration.

    The iteration starts with `v = u`. Each step computes the remainder `w` with
    `p -> p + w(p) = exp(-v) after (p -> p + u(p))`, smooths it and adds it to `v`: these are the first-order terms of
    `log(exp(v) exp(w))`. The best velocity of all steps is returned. A displacement that folds is not a flow: the
    residual then tells how far the flow is from it.

    Args:
        displacement: `(*spatial, rank)`, voxels.
        steps: squarings of the flow; use the number with which the velocity will be integrated.
        iterations: the largest number of steps.
        smoothing: standard deviation in voxels of the Gaussian that is applied to each remainder. What it removes is
            added in later steps or, where the displacement is discontinuous, never.
        tolerance: the mean residual in voxels at which to stop.

    Raises:
        AcregError: the shape is not one of a displacement, or a value is not finite.

    Source: Bossa et al., Contributions to 3D diffeomorphic atlas estimation, MICCAI 2007, eq. 8, to first order.
    """
    rank = check_displacement(displacement)
    grid = Grid(displacement.shape[:-1])
    u = np.asarray(displacement, np.float32)
    bad = int(np.count_nonzero(~np.isfinite(u)))
    if bad:
        raise AcregError(f"A displacement is finite. Received: {bad} values that are NaN or infinite.")
    inside = grid.contains(voxel_indices(grid.shape) + u)
    if not inside.any():
        raise AcregError("A displacement leaves some voxels inside the grid. Received: one that moves all of them out.")
    sigma = (smoothing,) * rank + (0.0,)
    v, weight = u.copy(), 1.0
    best = Logarithm(v, *_residuals(v, u, inside, steps))
    for _ in range(iterations):
        if best.mean_residual <= tolerance or weight < 0.1:
            break
        back = Velocity(-best.velocity, grid, steps).displacement.vectors
        lacking = u + np.stack([warp_array(back[..., d], u) for d in range(rank)], axis=-1)
        v = best.velocity + weight * ndimage.gaussian_filter(lacking, sigma, mode="nearest")
        found = Logarithm(v, *_residuals(v, u, inside, steps))
        gained = 1.0 - found.mean_residual / best.mean_residual
        if gained > 0:
            best = found
        if gained < GAIN:
            weight /= 2
    return best


def _residuals(velocity: np.ndarray, u: np.ndarray, inside: np.ndarray, steps: int) -> tuple[float, float]:
    flow = Velocity(velocity, Grid(u.shape[:-1]), steps).displacement.vectors
    lengths = np.linalg.norm(flow - u, axis=-1)[inside]
    return float(lengths.mean()), float(lengths.max())
