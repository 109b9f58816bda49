"""Resizing of images, labels and displacements that keeps the extent of the image.

All follow the half-pixel rule: sample `q` of the new grid lies at `p = (q + 0.5) * s - 0.5` of the old one, where `s`
is old size / new size along that axis; beyond the border the nearest edge value counts.
The work is separable: one sparse matrix an axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from acreg.errors import AcregError

TIE = 1e-5  # scores of labels closer than this are a tie: float32 sums differ in their last digits


def resize_image(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize an image linearly; an axis that shrinks is averaged with a triangle of half-width `s` against aliasing.

    Args:
        array: `(*spatial)`.
        shape: the new size, one number an axis.

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
    """Resize a label map: each label's share is resized as an image is, and the largest share wins.

    In a tie the lower label wins. One label is held at a time, so memory does not grow with the number of labels. No
    new value can appear; a structure thinner than about one new voxel can vanish.

    Args:
        labels: integers `(*spatial)`.
        shape: the new size, one number an axis.

    Returns:
        `(*shape)`, the dtype of `labels`.

    Raises:
        AcregError: `labels` is not of integers, or `shape` does not fit.
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise AcregError(f"Labels are integers. Received: dtype={labels.dtype}. Use resize_image for intensities.")
    shape = _checked(labels.ndim, shape)
    if shape == labels.shape:
        return labels.copy()
    values = np.unique(labels)
    result = np.full(shape, values[0], labels.dtype)
    if len(values) == 1:
        return result
    best = _resize((labels == values[0]).astype(np.float32), shape, antialias=True)
    for value in values[1:]:
        share = _resize((labels == value).astype(np.float32), shape, antialias=True)
        wins = share > best + TIE
        result[wins] = value
        best[wins] = share[wins]
    return result


def resize_displacement(displacement: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize a displacement to another grid over the same extent; values change with the voxels, axis by axis.

    Sampled linearly (no averaging when it shrinks), component `d` multiplied by new size / old size of axis `d`.

    Args:
        displacement: `(*spatial, rank)`, voxels of its grid.
        shape: the new spatial size.

    Returns:
        float32 `(*shape, rank)`, voxels of the new grid.

    Raises:
        AcregError: the last axis does not hold one component an axis, or `shape` does not fit.
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


def _resize(array: np.ndarray, shape: tuple[int, ...], antialias: bool) -> np.ndarray:
    """Apply the weights along the leading `len(shape)` axes, the one that shrinks most first."""
    for axis in sorted(range(len(shape)), key=lambda d: shape[d] / array.shape[d]):
        if shape[axis] == array.shape[axis]:
            continue
        moved = np.moveaxis(array, axis, 0)
        columns = moved.reshape(moved.shape[0], -1)
        resized = _weights(moved.shape[0], shape[axis], antialias) @ columns
        array = np.moveaxis(resized.reshape(shape[axis], *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(array)


def _weights(old: int, new: int, antialias: bool) -> sparse.csr_array:
    """`(new, old)` weights of linear interpolation, or of a triangle as wide as the reduction; rows add up to 1."""
    scale = old / new
    width = max(scale, 1.0) if antialias else 1.0
    positions = (np.arange(new) + 0.5) * scale - 0.5
    reach = int(np.ceil(width))
    taps = np.floor(positions)[:, None].astype(np.int64) + np.arange(-reach + 1, reach + 1)
    values = np.maximum(0.0, 1.0 - np.abs(taps - positions[:, None]) / width)
    values /= values.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(new), taps.shape[1])
    entries = (values.ravel().astype(np.float32), (rows, np.clip(taps, 0, old - 1).ravel()))
    return sparse.coo_array(entries, shape=(new, old)).tocsr()
