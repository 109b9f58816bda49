"""Lie brackets of velocities, and the velocity of a symmetric composition of two flows."""

from __future__ import annotations

import numpy as np


def derivative(array: np.ndarray, axis: int, side: float = 1.0) -> np.ndarray:
    """The derivative along an axis by `numpy.gradient`, with voxels of this side; 0 along an axis of one voxel."""
    return np.zeros_like(array) if array.shape[axis] == 1 else np.gradient(array, side, axis=axis)


def lie_bracket(v: np.ndarray, w: np.ndarray) -> np.ndarray:
    """`[v, w] = (Dv) w - (Dw) v`, with derivatives by `derivative`.

    With it, the flows satisfy `exp(v) after exp(w) = exp(v + w + [v, w] / 2 + ...)`.

    Args:
        v, w: `(*spatial, rank)`, voxels per unit time.

    Returns:
        `(*spatial, rank)`, the dtype of the fields.

    Source: Bossa et al., Contributions to 3D diffeomorphic atlas estimation, MICCAI 2007.
    """
    found = np.zeros_like(v)
    for axis in range(v.shape[-1]):
        found += derivative(v, axis) * w[..., axis, None] - derivative(w, axis) * v[..., axis, None]
    return found


def symmetric_composition(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The velocity of `exp(v / 2) after exp(u) after exp(v / 2)`, by the formula of Baker, Campbell and Hausdorff.

    `v + u - [v, [v, u]] / 24 + [u, [u, v]] / 12`, right up to terms of fifth order. Terms of even order, such as the
    `[v, u] / 2` of `exp(v) after exp(u)`, cancel: the opposite velocities give the opposite result.

    Args:
        v, u: as of `lie_bracket`.
    """
    bracket = lie_bracket(v, u)
    return v + u - lie_bracket(v, bracket) / 24 - lie_bracket(u, bracket) / 12
