"""Roughness of a field: losses on ``(batch, *spatial, rank)`` in voxels, one value per sample.

Each takes the `spacing` of the field's grid, mm per voxel along each axis. With it, the field and its derivatives are
in mm, so that one field in space costs the same on any grid, whether its slices are thick or thin. Without it, they are
in voxels, which is the same for voxels of 1 mm.

With `spacing`, each raises ValueError if it is not a positive number for each axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from keras import ops

from acreg.layers import functional
from acreg.layers.tensor import Tensor


def _values(field: Tensor, spacing: Sequence[float] | None) -> Tensor:
    """The field in float32; in mm if there is a spacing, which may also be a tensor ``(rank,)``."""
    field = ops.cast(field, "float32")
    if spacing is None:
        return field
    rank = field.shape[-1]
    if not ops.is_tensor(spacing) and not (
        isinstance(spacing, Sequence)
        and len(spacing) == rank
        and all(isinstance(s, Real) and 0 < s < math.inf for s in spacing)
    ):
        raise ValueError(
            f"The spacing of a field is a positive number, mm per voxel, for each of its {rank} spatial axes. "
            f"Received: spacing={spacing!r}"
        )
    return field * ops.cast(ops.convert_to_tensor(spacing), "float32")


def _difference(x: Tensor, axis: int, spacing: Sequence[float] | None = None) -> Tensor:
    """Forward difference along spatial ``axis``, per mm if there is a spacing; one voxel shorter there."""
    after = [slice(None)] * len(x.shape)
    before = list(after)
    after[axis + 1], before[axis + 1] = slice(1, None), slice(None, -1)
    difference = x[tuple(after)] - x[tuple(before)]
    return difference if spacing is None else difference / spacing[axis]


def _differences(x: Tensor, spacing: Sequence[float] | None) -> list[Tensor]:
    """Forward differences along each spatial axis of more than one voxel."""
    return [_difference(x, axis, spacing) for axis in range(x.shape[-1]) if x.shape[axis + 1] != 1]


def _field_axes(field: Tensor) -> tuple[int, ...]:
    return tuple(range(1, len(field.shape)))


def total_variation_sum(field: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """SUM of the absolute forward differences over all voxels, axes and components, ``(batch,)``, voxels.

    The weight of 5e-5 in the paper is for this sum on a 64x64 grid. On that grid, `total_variation_mean` with weight
    0.81 (5e-5 times 16128 differences) is the same term; unlike the sum, it keeps its meaning on other grids. With
    `spacing`, the slopes (mm per mm) are integrated over space: their sum is multiplied by the volume of a voxel.

    Source: Mansilla et al., eq. 2 (R); the sum is that of their published implementation.
    """
    axes = _field_axes(field)
    field = _values(field, spacing)
    total = sum(ops.sum(ops.abs(difference), axis=axes) for difference in _differences(field, spacing))
    return total if spacing is None else total * ops.prod(ops.cast(ops.convert_to_tensor(spacing), "float32"))


def total_variation_mean(field: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """MEAN of the absolute forward differences over all voxels, axes and components, ``(batch,)``, voxels.

    With `spacing`, of the slopes, mm per mm.
    """
    field = _values(field, spacing)
    differences = [ops.reshape(d, (ops.shape(field)[0], -1)) for d in _differences(field, spacing)]
    return ops.mean(ops.abs(ops.concatenate(differences, axis=1)), axis=1)


def diffusion(field: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Mean squared forward difference, averaged over axes, ``(batch,)``, dimensionless (voxels per voxel, squared).

    With `spacing`, of the slopes, mm per mm.
    """
    rank = field.shape[-1]
    axes = _field_axes(field)
    field = _values(field, spacing)
    return sum(ops.mean(ops.square(difference), axis=axes) for difference in _differences(field, spacing)) / rank


def bending(field: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Bending energy, ``(batch,)``, per voxel squared: mean over voxels of the squared second derivatives.

    ``sum over components, and over pairs of axes (i, j), of (d2u / di dj)^2``; a mixed pair counts twice. Zero for
    every affine field. With `spacing`, per mm squared.

    Source: Rueckert et al., IEEE TMI 1999, eq. 3.
    """
    rank = field.shape[-1]
    axes = tuple(range(1, len(field.shape) - 1))
    field = _values(field, spacing)
    total = 0.0
    for i in range(rank):
        for j in range(i, rank):
            second = _difference(_difference(field, i, spacing), j, spacing)
            if 0 in second.shape:  # too few voxels along these axes
                continue
            total = total + (1.0 if i == j else 2.0) * ops.sum(ops.mean(ops.square(second), axis=axes), axis=-1)
    return total


def negative_jacobian(displacement: Tensor) -> Tensor:
    """Mean over voxels of the negative part of the Jacobian determinant of ``p + u(p)``, ``(batch,)``: 0 without folds.

    It has no gradient where nothing folds. The determinants are those of `acreg.layers.functional`, by which folding is
    measured.

    Source: the local orientation consistency of Mok and Chung, CVPR 2020; Kuang and Schmah, FAIM, MLMI 2019, take the
    sum over voxels.
    """
    determinant = functional.jacobian_determinant(displacement)
    return ops.mean(ops.relu(-determinant), axis=tuple(range(1, len(determinant.shape))))
