"""Sampling of images, labels and displacements on a finer or coarser grid with parallel axes.

Resizing keeps the extent and follows the half-pixel rule: sample `q` of the new grid lies at `p = (q + 0.5) * s - 0.5`
of the old one, where `s` is old size / new size along that axis; beyond the outer centres, but within the extent, the
edge value is used. The computation is separable: one sparse matrix per axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from acreg.errors import AcregError
from acreg.geometry.grid import ROUNDING, Grid

TIE = 1e-5  # scores of labels closer than this are a tie: float32 sums differ in their last digits


def resize_image(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize an image linearly; an axis that shrinks is averaged with a triangle of half-width `s` to avoid aliasing.

    Args:
        array: `(*spatial)`.
        shape: the new size, one number per axis.

    Returns:
        float32 `(*shape)`.

    Raises:
        AcregError: `shape` has another number of axes, or a size below 1.
    """
    array = np.asarray(array)
    array = array.astype(np.float32, copy=False)
    resized = _resize(array, _checked(array.ndim, shape), antialias=True)
    return np.clip(resized, array.min(), array.max())  # weights add up to 1 only within rounding


def resize_labels(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize a label map: the mask of each label is resized like an image, and the label with the largest share wins.

    In a tie, the lower label wins. Labels are processed one at a time, so memory does not grow with the number of
    labels. No new value can appear; a structure thinner than about one new voxel can vanish.

    Args:
        labels: integers `(*spatial)`.
        shape: the new size, one number per axis.

    Returns:
        `(*shape)`, the dtype of `labels`.

    Raises:
        AcregError: `labels` are not integers, or `shape` does not fit.
    """
    labels = np.asarray(labels)
    shape = _checked(labels.ndim, shape)
    if shape == labels.shape:
        _check_integers(labels)
        return labels.copy()
    return _largest_share(labels, shape, lambda share: _resize(share, shape, antialias=True))


def sample_image(array: np.ndarray, grid: Grid, onto: Grid, outside: float) -> np.ndarray:
    """Sample an image that lies on `grid` at the voxels of another grid, as `resize_image` does.

    Args:
        array: `(*grid.shape)`.
        grid: grid of the image.
        onto: a grid whose axes are those of `grid`, in any order and direction.
        outside: the value of samples outside the extent of the image.

    Returns:
        float32 `(*onto.shape)`.

    Raises:
        AcregError: the axes of the grids are not parallel.
    """
    array = np.asarray(array).astype(np.float32, copy=False)
    axes, lines = _lines(grid, onto)
    sampled = np.clip(_sample(array.transpose(axes), lines), array.min(initial=np.inf), array.max(initial=-np.inf))
    for axis, line in enumerate(lines):
        np.moveaxis(sampled, axis, 0)[line.outside] = outside
    return sampled


def sample_labels(labels: np.ndarray, grid: Grid, onto: Grid) -> np.ndarray:
    """Sample a label map that lies on `grid` at the voxels of another grid, as `resize_labels` does, with 0 outside.

    Args, errors: as `sample_image`.

    Returns:
        `(*onto.shape)`, the dtype of `labels`.
    """
    labels = np.asarray(labels)
    axes, lines = _lines(grid, onto)
    turned = labels.transpose(axes)
    sampled = _largest_share(turned, onto.shape, lambda share: _sample(share, lines))
    for axis, line in enumerate(lines):
        np.moveaxis(sampled, axis, 0)[line.outside] = 0
    return sampled


def resize_displacement(displacement: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize a displacement to another grid over the same extent; its values are converted to the new voxels.

    It is sampled linearly, without averaging when it shrinks; component `d` is multiplied by new size / old size of
    axis `d`.

    Args:
        displacement: `(*spatial, rank)`, voxels of its grid.
        shape: the new spatial size.

    Returns:
        float32 `(*shape, rank)`, voxels of the new grid.

    Raises:
        AcregError: the last axis does not hold one component per axis, or `shape` does not fit.
    """
    displacement = np.asarray(displacement)
    rank = displacement.ndim - 1
    if rank < 1 or displacement.shape[-1] != rank:
        raise AcregError(
            f"A displacement is (*spatial, rank) with one component an axis. Received: shape={displacement.shape}."
        )
    shape = _checked(rank, shape)
    factors = np.asarray(shape, dtype=np.float32) / np.asarray(displacement.shape[:-1], dtype=np.float32)
    return _resize(displacement.astype(np.float32), shape, antialias=False) * factors


def _checked(rank: int, shape: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in shape)
    if len(sizes) != rank or min(sizes) < 1:
        raise AcregError(f"The new size is {rank} numbers of at least 1, one an axis. Received: shape={tuple(shape)}.")
    return sizes


@dataclass(frozen=True)
class _Line:
    """The samples of one axis: sample `q` of `new` lies at `start + q * step` of the `old` voxels."""

    old: int
    new: int
    start: float
    step: float

    @property
    def positions(self) -> np.ndarray:
        return self.start + np.arange(self.new) * self.step

    @property
    def outside(self) -> np.ndarray:
        """Which samples lie more than half a voxel beyond the outer centres."""
        edge = 0.5 + ROUNDING
        return (self.positions < -edge) | (self.positions > self.old - 1 + edge)

    def weights(self, antialias: bool) -> sparse.csr_array:
        """`(new, old)` weights of linear interpolation, or of a triangle as wide as the reduction; rows add up to 1."""
        width = max(abs(self.step), 1.0) if antialias else 1.0
        reach = int(np.ceil(width))
        positions = np.clip(self.positions, -0.5, self.old - 0.5)
        taps = np.floor(positions)[:, None].astype(np.int64) + np.arange(-reach + 1, reach + 1)
        values = np.maximum(0.0, 1.0 - np.abs(taps - positions[:, None]) / width)
        values /= values.sum(axis=1, keepdims=True)
        rows = np.repeat(np.arange(self.new), taps.shape[1])
        entries = (values.ravel().astype(np.float32), (rows, np.clip(taps, 0, self.old - 1).ravel()))
        return sparse.coo_array(entries, shape=(self.new, self.old)).tocsr()


def _lines(grid: Grid, onto: Grid) -> tuple[list[int], list[_Line]]:
    """The order that takes the axes of `grid` to those of `onto`, and the samples along each axis."""
    matrix = np.linalg.solve(grid.matrix, onto.matrix)
    axes = [int(axis) for axis in np.argmax(np.abs(matrix[:-1, :-1]), axis=0)]
    steps = matrix[axes, range(len(axes))]
    rest = matrix[:-1, :-1].copy()
    rest[axes, range(len(axes))] = 0
    if len(set(axes)) < len(axes) or np.abs(rest).max() * max(onto.shape) > 0.01:
        raise AcregError(
            f"The axes of two grids must be parallel. Received: directions {grid.direction} and {onto.direction}. "
            "Resample through a Transform."
        )
    return axes, [
        _Line(grid.shape[axis], new, float(matrix[axis, -1]), float(step))
        for axis, new, step in zip(axes, onto.shape, steps, strict=True)
    ]


def _resize(array: np.ndarray, shape: tuple[int, ...], antialias: bool) -> np.ndarray:
    lines = []
    for old, new in zip(array.shape, shape):  # a displacement has one more axis
        step = old / new
        lines.append(_Line(old, new, 0.5 * step - 0.5, step))
    return _sample(array, lines, antialias)


def _sample(array: np.ndarray, lines: Sequence[_Line], antialias: bool = True) -> np.ndarray:
    """Apply the weights along the leading `len(lines)` axes, beginning with the axis that shrinks most."""
    for axis in sorted(range(len(lines)), key=lambda d: lines[d].new / lines[d].old):
        line = lines[axis]
        if line.new == line.old and abs(line.start) < ROUNDING and abs(line.step - 1) * line.old < ROUNDING:
            continue
        moved = np.moveaxis(array, axis, 0)
        columns = moved.reshape(moved.shape[0], -1)
        sampled = line.weights(antialias) @ columns
        array = np.moveaxis(sampled.reshape(line.new, *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(array)


def _check_integers(labels: np.ndarray) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise AcregError(f"Labels are integers. Received: dtype={labels.dtype}. Use resize_image for intensities.")


def _largest_share(
    labels: np.ndarray, shape: tuple[int, ...], sample: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    _check_integers(labels)
    values = np.unique(labels)
    result = np.full(shape, values[0], labels.dtype)
    if len(values) == 1:
        return result
    best = sample((labels == values[0]).astype(np.float32))
    for value in values[1:]:
        share = sample((labels == value).astype(np.float32))
        wins = share > best + TIE
        result[wins] = value
        best[wins] = share[wins]
    return result
