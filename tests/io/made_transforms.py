"""Smooth fields and affine maps between grids, drawn with a seed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from acreg.geometry import Affine, Grid


def field(grid: Grid, largest: float = 1.5, seed: int = 0) -> np.ndarray:
    """A smooth field ``(*shape, rank)``, whose largest component is `largest`."""
    noise = np.random.default_rng(seed).normal(size=(*grid.shape, grid.rank))
    smooth = ndimage.gaussian_filter(noise, (3,) * grid.rank + (0,))
    return smooth * largest / np.abs(smooth).max()


def between(fixed: Grid, moving: Grid) -> Affine:
    """A map near the identity that takes the middle of one grid to that of the other."""
    matrix = np.eye(fixed.rank + 1)
    matrix[:-1, :-1] += np.random.default_rng(0).uniform(-0.1, 0.1, (fixed.rank, fixed.rank))
    middle = [grid.to_world((np.array(grid.shape) - 1) / 2) for grid in (fixed, moving)]
    matrix[:-1, -1] = middle[1] - matrix[:-1, :-1] @ middle[0]
    return Affine(matrix)
