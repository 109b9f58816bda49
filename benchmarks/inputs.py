"""Inputs of the benchmarks: the same arrays in every process, because they follow from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]


def images(shape: Sequence[int], batch: int = 1, channels: int = 1) -> Array:
    """Smooth random images in [0, 1], ``(batch, *shape, channels)``."""
    rng = np.random.default_rng(len(shape))
    made = ndimage.gaussian_filter(rng.normal(size=(batch, *shape, channels)), (0, *(1.5,) * len(shape), 0))
    axes = tuple(range(1, len(shape) + 1))
    low, high = made.min(axis=axes, keepdims=True), made.max(axis=axes, keepdims=True)
    return ((made - low) / (high - low)).astype(np.float32)


def labels(shape: Sequence[int], classes: int, seed: int = 0) -> NDArray[np.int32]:
    """Labels 0 to ``classes - 1`` of `shape`: the Voronoi cells of random points, so that each label is one region."""
    rng = np.random.default_rng([seed, len(shape)])
    points = np.random.default_rng(classes).uniform(0.1, 0.9, (4 * classes, len(shape)))
    points = (points + rng.normal(0, 0.01, points.shape)) * shape
    seeds = np.ones(tuple(shape), bool)
    nearest = np.zeros(tuple(shape), np.int32)
    for number, point in enumerate(np.clip(points.astype(int), 0, np.array(shape) - 1)):
        seeds[tuple(point)] = False
        nearest[tuple(point)] = number + 1
    index = ndimage.distance_transform_edt(seeds, return_distances=False, return_indices=True)
    found = nearest[tuple(index)]
    return np.where(found < classes, found, 0).astype(np.int32)


def one_hot(shape: Sequence[int], classes: int) -> Array:
    """`labels` as ``(1, *shape, classes)``."""
    return np.eye(classes, dtype=np.float32)[labels(shape, classes)][None]


def displacement(shape: Sequence[int], batch: int = 1, size: float = 3.0, seed: int = 1) -> Array:
    """A smooth displacement, ``(batch, *shape, rank)`` in voxels, with the standard deviation `size`.

    No sample lies outside the image, where programs follow different rules, or within a twentieth of a voxel of a
    voxel's centre, where the derivative is discontinuous and rounding decides.
    """
    rank = len(shape)
    rng = np.random.default_rng([seed, rank])
    made = ndimage.gaussian_filter(rng.normal(size=(batch, *shape, rank)), (0, *(4.0,) * rank, 0))
    grid = np.moveaxis(np.indices(tuple(shape)), 0, -1)
    at = np.clip(grid + made / made.std() * size, 0, np.array(shape) - 1.001)
    whole = np.floor(at)
    return (whole + 0.05 + 0.9 * (at - whole) - grid).astype(np.float32)


def velocity(shape: Sequence[int], batch: int = 1, size: float = 2.0) -> Array:
    """A smooth velocity of standard deviation `size` that vanishes towards the border, ``(batch, *shape, rank)``."""
    rank = len(shape)
    rng = np.random.default_rng([2, rank])
    made = ndimage.gaussian_filter(rng.normal(size=(batch, *shape, rank)), (0, *(max(shape) / 16,) * rank, 0))
    for axis, n in enumerate(shape, start=1):
        window = np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / (n / 4), 0, 1)
        made *= window.reshape(tuple(-1 if a == axis else 1 for a in range(rank + 2)))
    return (made / made.std() * size).astype(np.float32)
