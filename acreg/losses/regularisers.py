"""Roughness of a field: losses on ``(batch, *spatial, rank)`` in voxels, one value per sample."""

from __future__ import annotations

from keras import ops

from acreg.layers.tensor import Tensor


def _difference(x: Tensor, axis: int) -> Tensor:
    """Forward difference along spatial ``axis``; one voxel shorter there."""
    after = [slice(None)] * len(x.shape)
    before = list(after)
    after[axis + 1], before[axis + 1] = slice(1, None), slice(None, -1)
    return x[tuple(after)] - x[tuple(before)]


def _field_axes(field: Tensor) -> tuple[int, ...]:
    return tuple(range(1, len(field.shape)))


def total_variation_sum(field: Tensor) -> Tensor:
    """SUM of the absolute forward differences over all voxels, axes and components, ``(batch,)``, voxels.

    The weight of 5e-5 in the paper is for this sum on a 64x64 grid. On that grid, `total_variation_mean` with weight
    0.81 (5e-5 times 16128 differences) is the same term; unlike the sum, it keeps its meaning on other grids.

    Source: Mansilla et al., eq. 2 (R); the sum is that of their published implementation.
    """
    rank = field.shape[-1]
    axes = _field_axes(field)
    field = ops.cast(field, "float32")
    return sum(ops.sum(ops.abs(_difference(field, axis)), axis=axes) for axis in range(rank))


def total_variation_mean(field: Tensor) -> Tensor:
    """MEAN of the absolute forward differences over all voxels, axes and components, ``(batch,)``, voxels."""
    rank = field.shape[-1]
    field = ops.cast(field, "float32")
    differences = [ops.reshape(_difference(field, a), (ops.shape(field)[0], -1)) for a in range(rank)]
    return ops.mean(ops.abs(ops.concatenate(differences, axis=1)), axis=1)


def diffusion(field: Tensor) -> Tensor:
    """Mean squared forward difference, averaged over axes, ``(batch,)``, dimensionless (voxels per voxel, squared)."""
    rank = field.shape[-1]
    axes = _field_axes(field)
    field = ops.cast(field, "float32")
    return sum(ops.mean(ops.square(_difference(field, axis)), axis=axes) for axis in range(rank)) / rank


def bending(field: Tensor) -> Tensor:
    """Bending energy, ``(batch,)``, per voxel squared: mean over voxels of the squared second derivatives.

    ``sum over components, and over pairs of axes (i, j), of (d2u / di dj)^2``; a mixed pair counts twice. Zero for
    every affine field.

    Source: Rueckert et al., IEEE TMI 1999, eq. 3.
    """
    rank = field.shape[-1]
    axes = tuple(range(1, len(field.shape) - 1))
    field = ops.cast(field, "float32")
    total = 0.0
    for i in range(rank):
        for j in range(i, rank):
            second = _difference(_difference(field, i), j)
            total = total + (1.0 if i == j else 2.0) * ops.sum(ops.mean(ops.square(second), axis=axes), axis=-1)
    return total
