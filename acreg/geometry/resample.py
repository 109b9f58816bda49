"""Resampling of images and label maps onto another grid: by cubic splines, and by the nearest voxel.

It is meant for data that are written to disk once. The input of a network is sampled linearly
(`acreg.geometry.resize`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry.grid import ROUNDING, Grid

SAME_SPACING = 1e-5
"""Relative difference up to which an axis keeps its spacing: headers contain 0.99999994 instead of 1."""
COVERED = 1e-3
"""Part of a voxel by which an extent may fall short, so that rounding does not add a voxel."""
FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian of standard deviation 1


def respaced(grid: Grid, spacing: Sequence[float]) -> Grid:
    """The smallest grid with another spacing that covers the extent of `grid` and has the same middle and direction.

    Args:
        grid: grid of an image.
        spacing: mm by array axis.

    Raises:
        AcregError: `spacing` is not one positive number per axis.
    """
    wanted = np.asarray(spacing, dtype=float)
    if wanted.shape != (grid.rank,) or not (np.isfinite(wanted) & (wanted > 0)).all():
        raise AcregError(f"The new spacing is {grid.rank} positive numbers, mm by axis. Received: {tuple(spacing)}.")
    old = np.asarray(grid.spacing)
    wanted = np.where(np.abs(wanted / old - 1) < SAME_SPACING, old, wanted)
    shape = np.maximum(np.ceil(old * grid.shape / wanted - COVERED), 1).astype(int)
    return grid.centred((np.array(grid.shape) - 1) / 2, tuple(shape.tolist()), tuple(wanted.tolist()))


def sample_cubic(array: np.ndarray, grid: Grid, onto: Grid) -> np.ndarray:
    """Sample an image at the voxels of another grid, by cubic splines.

    An axis that shrinks is first smoothed by a Gaussian whose full width at half maximum,
    `sqrt(new^2 - old^2)`, accounts for the difference in voxel size (Cardoso et al., MICCAI 2015); `new` is the extent
    of a rotated voxel along the old axis. The result stays within the range of the image, and beyond the outer centres
    the edge value is used. If the grids share their voxels, the values are copied.

    Args:
        array: `(*grid.shape)`.
        grid: grid of the image.
        onto: the grid to sample on.

    Returns:
        float32 `(*onto.shape)`.

    Raises:
        AcregError: the grids differ in their number of axes.
    """
    start, steps = _samples(grid, onto)
    image = np.asarray(array).astype(np.float32, copy=False)
    if _shared(start, steps):
        return image[_nearest(start, steps, grid, onto)]
    low, high = image.min(), image.max()
    sigma = np.sqrt(np.maximum((steps**2).sum(axis=1) - 1, 0)) / FWHM
    sigma[sigma < ROUNDING] = 0  # a rotation alone
    smoothed = ndimage.gaussian_filter(image, sigma, mode="nearest") if sigma.any() else image
    sampled = ndimage.affine_transform(
        smoothed, steps, start, output_shape=onto.shape, output=np.float32, order=3, mode="nearest"
    )
    return np.clip(sampled, low, high, out=sampled)


def sample_nearest(labels: np.ndarray, grid: Grid, onto: Grid) -> np.ndarray:
    """Sample a label map at the voxels of another grid, each at its nearest voxel.

    Args, errors: as `sample_cubic`.

    Returns:
        `(*onto.shape)`, the dtype of `labels`.
    """
    start, steps = _samples(grid, onto)
    labels = np.asarray(labels)
    if _parallel(steps):
        return labels[_nearest(start, steps, grid, onto)]
    return ndimage.affine_transform(labels, steps, start + ROUNDING, output_shape=onto.shape, order=0, mode="nearest")


def inside(grid: Grid, onto: Grid) -> np.ndarray:
    """Which voxels of `onto` have their centre in the extent of `grid` (see `Grid.contains`): boolean `(*onto.shape)`.

    Raises:
        AcregError: the grids differ in their number of axes.
    """
    start, steps = _samples(grid, onto)
    result = np.ones(onto.shape, bool)
    numbers = np.ogrid[tuple(slice(n) for n in onto.shape)]
    for axis, (first, row) in enumerate(zip(start, steps, strict=True)):
        result &= grid.within(first + sum(step * number for step, number in zip(row, numbers)), axis)
    return result


def _samples(grid: Grid, onto: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Index of the first sample, and a matrix whose column `d` is the index step to the next sample along axis `d`."""
    if grid.rank != onto.rank:
        raise AcregError(
            f"The two grids must have one number of axes. Received: shapes {grid.shape} and {onto.shape}. Resample an "
            "image onto a grid of its own kind."
        )
    steps = np.linalg.solve(grid.matrix[:-1, :-1], onto.matrix[:-1, :-1])
    if np.allclose(grid.direction, onto.direction, rtol=0, atol=1e-6):
        steps = np.diag(np.divide(onto.spacing, grid.spacing))
    return grid.to_index(np.asarray(onto.origin)), steps


def _parallel(steps: np.ndarray) -> bool:
    return bool((steps == np.diag(np.diag(steps))).all())


def _shared(start: np.ndarray, steps: np.ndarray) -> bool:
    identity = np.eye(len(start))
    return _parallel(steps) and bool(
        (np.abs(start - np.rint(start)) < ROUNDING).all() and (np.abs(steps - identity) < ROUNDING).all()
    )


def _nearest(start: np.ndarray, steps: np.ndarray, grid: Grid, onto: Grid) -> tuple[np.ndarray, ...]:
    """Indices of the voxels nearest to the samples of a parallel grid (the later one in a tie), for NumPy indexing."""
    places = [a + s * np.arange(n) for a, s, n in zip(start, np.diag(steps), onto.shape, strict=True)]
    nearest = [np.floor(p + 0.5 + ROUNDING).astype(int) for p in places]
    return np.ix_(*(np.clip(index, 0, n - 1) for index, n in zip(nearest, grid.shape, strict=True)))
