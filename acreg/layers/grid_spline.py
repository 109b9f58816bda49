"""The thin-plate spline from a regular grid of control points to every voxel, and the displacement that it defines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
from keras import ops
from numpy.typing import NDArray

from acreg.layers.tensor import Tensor


def grid_spline(values: Tensor, shape: Sequence[int | Tensor]) -> Tensor:
    """The thin-plate spline through a regular grid of control points, at every voxel of an image.

    The grid spans the extent of the image: its outermost points lie on the outer faces of the outermost voxels.
    Distances are measured in control cells, so that the spline depends on neither the shape nor the spacing.

    The kernel (``r`` in space, ``r^2 log(r)`` in the plane) is replaced by a sum of Gaussians. These are products over
    the axes, so that a few small matrix products replace a kernel value for each voxel and control point (134
    million at 64^3 and 8 points per axis). The sum of the wide Gaussians is smooth and is represented by a cubic
    B-spline on the same grid. The result still goes through the control points. Elsewhere, it differs from the
    exact spline by less than 1 % of the largest value (root mean square 0.3 %), most of all close to a control point,
    where the kernel in space has a cusp. (Matrix products with 11 bits, TF32, can add another 1 %.)

    Args:
        values: ``(batch, *points, channels)`` with the same number of at least 3 control points along each axis.
        shape: the spatial shape of the result.

    Returns:
        float32 ``(batch, *shape, channels)``, in the unit of ``values``.

    Raises:
        ValueError: when ``values`` is not such a grid with 2 or 3 axes, or ``shape`` has another number of axes.
    """
    points, rank, channels = values.shape[1], len(values.shape) - 2, values.shape[-1]
    if rank not in (2, 3) or set(values.shape[1:-1]) != {points} or points < 3 or len(shape) != rank:
        raise ValueError(
            "`values` must have shape (batch, *points, channels) with the same number of at least 3 points along each "
            f"of 2 or 3 axes, and `shape` must have as many axes. Received: values.shape={tuple(values.shape)}, "
            f"shape={tuple(shape)}"
        )
    number = points**rank
    weights = ops.matmul(_grid_solution(points, rank), ops.reshape(ops.cast(values, "float32"), (-1, number, channels)))
    weights = ops.transpose(weights, (0, 2, 1))
    scales, heights = _gaussians(rank)
    narrow = scales >= _NARROW
    gaussian_bases, smooth_bases = [], []
    for n in shape:
        position = (ops.arange(n, dtype="float32") + 0.5) / ops.cast(n, "float32") * (points - 1)
        squares = (position[:, None] - np.arange(points, dtype="float32")) ** 2
        gaussian_bases.append(ops.exp(-scales[narrow, None, None].astype("float32") * squares))
        smooth_bases.append(cubic(position[:, None] - np.arange(-1, points + 1, dtype="float32"))[None])
    gaussian_bases[0] = heights[narrow, None, None].astype("float32") * gaussian_bases[0]
    spline = _separable_sum(weights[..., :number], gaussian_bases, shape)
    spline = spline + _separable_sum(weights[..., number:], smooth_bases, shape)
    return ops.moveaxis(ops.reshape(spline, (-1, channels, *shape)), 1, -1)


def _separable_sum(weights: Tensor, bases: Sequence[Tensor], shape: Sequence[int | Tensor]) -> Tensor:
    """Sums over j and k_0, k_1, ... of ``weights[k] bases[0][j, p_0, k_0] bases[1][j, p_1, k_1] ...``.

    ``weights`` is ``(batch, channels, k**rank)``, a basis ``(j, voxels, k)``; the result has ``batch * channels``
    images of ``shape`` one after the other. The axes are converted one by one from k to voxels, separately for each j;
    the last product also sums over j.
    """
    rank = len(shape)
    number, _, size = bases[0].shape
    part = weights
    for axis in range(rank - 1):
        part = ops.reshape(part, (-1, number if axis else 1, *shape[:axis], size, size ** (rank - 1 - axis)))
        part = ops.matmul(ops.reshape(bases[axis], (number, *(1,) * axis, shape[axis], size)), part)
    part = ops.reshape(ops.moveaxis(part, 1, -2), (-1, number * size))
    return ops.matmul(part, ops.reshape(ops.transpose(bases[-1], (0, 2, 1)), (number * size, shape[-1])))


def spline_displacement(
    shape: Sequence[int | Tensor],
    spacing: Tensor,
    angles: Tensor | None = None,
    translation: Tensor | None = None,
    control_displacements: Tensor | None = None,
) -> Tensor:
    """The displacement of ``x -> R (x + d(x)) + t``, where ``x`` are millimetres from the image's centre.

    Because the linear part of a spline can be any such map, this is a single spline through the rotated and translated
    control points. At least one of the three parts must be given.

    Args:
        shape: the spatial shape of the image.
        spacing: mm, ``(batch, rank)`` or ``(1, rank)``.
        angles: degrees, of R. In 2-D ``(batch, 1)``, from array axis 0 towards axis 1. In 3-D ``(batch, 3)``, about
            axis 2 (from 0 towards 1), then about axis 1 (from 2 towards 0), then about axis 0 (from 1 towards 2).
        translation: mm, t, ``(batch, rank)``.
        control_displacements: mm, of the spline d through the control points of `grid_spline`,
            ``(batch, *points, rank)``.

    Returns:
        float32 ``(batch, *shape, rank)``, voxels.
    """
    rank = len(shape)
    rotation = ops.eye(rank)[None] if angles is None else _rotation(angles)
    terms = []
    if control_displacements is not None:
        # the spline through rotated vectors is the rotated spline, and there are fewer vectors than voxels
        vectors = ops.reshape(control_displacements, (-1, control_displacements.shape[1] ** rank, rank))
        vectors = ops.matmul(vectors, ops.transpose(rotation, (0, 2, 1))) / spacing[:, None]
        terms.append(grid_spline(ops.reshape(vectors, (-1, *control_displacements.shape[1:])), shape))
    if translation is not None:
        terms.append(ops.reshape(translation / spacing, (-1, *(1,) * rank, rank)))
    if angles is not None:
        turned = (rotation - ops.eye(rank)) * spacing[:, None, :] / spacing[:, :, None]
        for axis, size in enumerate(shape):
            from_centre = ops.arange(size, dtype="float32") - (ops.cast(size, "float32") - 1) / 2
            terms.append(_along(from_centre, axis, rank) * ops.reshape(turned[:, :, axis], (-1, *(1,) * rank, rank)))
    displacement = sum(terms[1:], terms[0])
    return ops.broadcast_to(displacement, (ops.shape(displacement)[0], *shape, rank))


def _along(x: Tensor, axis: int, rank: int) -> Tensor:
    """One value for each voxel of a spatial axis, with axes of length 1 for the others and for channels."""
    return ops.reshape(x, tuple(-1 if a == axis else 1 for a in range(rank)) + (1,))


def _rotation(angles: Tensor) -> Tensor:
    """Matrices ``(batch, rank, rank)`` of angles in degrees, see `spline_displacement`."""
    radians = ops.cast(angles, "float32") * (np.pi / 180)
    rank, planes = (2, [(0, 1)]) if angles.shape[-1] == 1 else (3, [(1, 2), (2, 0), (0, 1)])
    matrix = ops.eye(rank)
    for turn, (i, j) in enumerate(planes):
        cosine, sine = ops.cos(radians[:, turn, None, None]), ops.sin(radians[:, turn, None, None])
        unit = np.eye(rank, dtype="float32")
        diagonal = np.diag(unit[i] + unit[j])
        skew = np.outer(unit[j], unit[i]) - np.outer(unit[i], unit[j])
        matrix = ops.matmul(matrix, unit - diagonal + cosine * diagonal + sine * skew)
    return matrix


# Gaussians of at least this scale (per squared control cell) are summed over the control points. Wider ones would
# cancel except for a small rest, for which devices that multiply with 11 bits (NVIDIA's TF32) would err by voxels.
_NARROW = 0.1


def _gaussians(rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales ``t`` and heights ``h`` for which ``sum h exp(-t r^2)`` is the kernel, up to multiples of 1 and r^2.

    The linear part of the spline absorbs these multiples. The integrals over ``t`` of ``-t^-1.5 exp(-t r^2) / (2
    sqrt(pi))``, which is ``r``, and of ``t^-2 exp(-t r^2) / 2``, which is ``r^2 log(r)``, are approximated by sums over
    equal steps of ``log(t)``. The largest scale determines the width of the rounded cusp, the smallest the longest
    distance that is resolved.
    """
    scales = np.geomspace(0.001, 300.0, 13) if rank == 2 else np.geomspace(0.01, 10000.0, 13)
    step = np.log(scales[1] / scales[0])
    return scales, step / (2 * scales) if rank == 2 else -step / (2 * np.sqrt(np.pi * scales))


def cubic(x: Tensor) -> Tensor:
    """The cubic B-spline with knots at -2, -1, 0, 1, 2."""
    x = ops.abs(x)
    return ops.relu(2 - x) ** 3 / 6 - 4 * ops.relu(1 - x) ** 3 / 6


@lru_cache(maxsize=8)
def _grid_solution(points: int, rank: int) -> NDArray[np.float32]:
    """The matrix that maps control values to the weights of the Gaussians, followed by those of the B-splines.

    ``(points**rank + (points + 2)**rank, points**rank)``, solved in double precision.
    """
    index = np.arange(points)
    number = points**rank
    squares = (index[:, None] - index) ** 2.0
    kernel, narrow = np.zeros((number, number)), np.zeros((number, number))
    for scale, height in zip(*_gaussians(rank)):
        gaussian = height * reduce(np.kron, [np.exp(-scale * squares)] * rank)
        kernel += gaussian
        narrow += gaussian * (scale >= _NARROW)
    linear = np.stack([*(axis.ravel() for axis in np.indices((points,) * rank)), np.ones(number)], axis=1)
    system = np.block([[kernel, linear], [linear.T, np.zeros((rank + 1, rank + 1))]])
    weights = np.linalg.inv(system)[:number, :number]

    # At the control points, the B-splines equal what the narrow Gaussians leave; the outermost pieces are parabolas.
    conditions = np.zeros((points + 2, points + 2))
    for i in range(points):
        conditions[i, i : i + 3] = 1 / 6, 4 / 6, 1 / 6
    conditions[-2, :4] = conditions[-1, -4:] = -1, 3, -3, 1
    through = np.linalg.inv(conditions)[:, :points]
    rest = (np.eye(number) - narrow @ weights).reshape((points,) * rank + (number,))
    for axis in range(rank):
        rest = np.moveaxis(np.tensordot(through, rest, axes=(1, axis)), 0, axis)
    solution = np.concatenate([weights, rest.reshape(-1, number)]).astype(np.float32)
    solution.setflags(write=False)
    return solution
