"""Thin-plate splines between scattered points; those through a regular grid are in `grid_spline`.

The spline through ``f(c_i) = v_i`` is ``f(x) = sum_i w_i k(|x - c_i|) + A x + b`` with ``sum_i w_i = 0`` and
``sum_i w_i c_i = 0``. Of all functions through these points, it has the least bending energy (Duchon, Splines
Minimizing Rotation-Invariant Semi-Norms in Sobolev Spaces, 1977; Bookstein, Principal Warps, TPAMI 1989).
"""

from __future__ import annotations

import warnings

import numpy as np
from keras import ops

from acreg._moved import forward
from acreg.layers.tensor import Tensor


def interpolate_spline(
    train_points: Tensor, train_values: Tensor, query_points: Tensor, order: int = 2, regularization: float = 0.0
) -> Tensor:
    """Polyharmonic interpolation between scattered points.

    The kernel is ``r^order`` for an odd order and ``r^order log(r)`` for an even one: order 2 is the thin-plate spline
    in the plane, order 1 the one in space. The system is dense, so the function is meant for up to a few hundred
    points.

    The points are centred and scaled internally, so that unit and origin do not matter, and the system is solved in the
    widest floating-point type of the backend: float64 on TensorFlow, float32 on JAX unless ``jax_enable_x64`` is set.
    NumPy arrays are centred before the backend rounds them; a float32 tensor far from 0 has already lost digits. In
    float32, a spline of order 2 through 300 noisy landmarks misses them by a few hundredths of the largest value, and a
    spline of order 3 is not usable. Points that almost coincide, a high order and queries far from all points reduce
    the accuracy.

    Args:
        train_points: ``(batch, n, rank)``, in any unit; more than ``rank`` points, not all on one line or plane. No two
            points may coincide, unless ``regularization`` is above 0.
        train_values: ``(batch, n, channels)``.
        query_points: ``(batch, m, rank)``, in the unit of ``train_points``.
        order: an integer of at least 1.
        regularization: at least 0, added to the diagonal of the kernel matrix in the unit of ``train_points``, as in
            tensorflow-addons: 0 interpolates; with orders 2 and 3, a larger value smooths. With order 1 it does not,
            because the kernel has the opposite sign; orders 4 and 5 behave like 1, orders 6 and 7 like 2, and so on.

    Returns:
        The spline at the query points, float32 ``(batch, m, channels)``.

    Raises:
        ValueError: when shapes do not match, ``order`` or ``regularization`` is out of range, or the points do not
            determine a spline (this is checked only if their values are known, not in a function that is being
            compiled).
    """
    shapes = [tuple(x.shape) for x in (train_points, train_values, query_points)]
    points_shape, values_shape, queries_shape = shapes
    if {len(s) for s in shapes} != {3} or points_shape[1] != values_shape[1] or points_shape[2] != queries_shape[2]:
        raise ValueError(
            "`train_points` (batch, n, rank) and `train_values` (batch, n, channels) must have the same n, and "
            "`query_points` (batch, m, rank) the same rank. Received: "
            f"train_points.shape={points_shape}, train_values.shape={values_shape}, query_points.shape={queries_shape}"
        )
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"`order` must be a whole number of at least 1. Received: order={order!r}")
    if not 0 <= regularization < np.inf:
        raise ValueError(
            f"`regularization` must be a finite number of at least 0. Received: regularization={regularization!r}"
        )
    if regularization and order % 4 < 2:
        warnings.warn(
            "`regularization` smooths with order 2 or 3 (6, 7 and so on): the kernel of the others has the other sign. "
            f"Received: order={order}, regularization={regularization}.",
            stacklevel=2,
        )
    _check_points(train_points, distinct=not regularization)
    if isinstance(train_points, np.ndarray) and isinstance(query_points, np.ndarray):
        middle = train_points.mean(axis=1, keepdims=True, dtype=float)
        train_points, query_points = train_points - middle, query_points - middle
    widest = ops.convert_to_tensor(np.zeros(1)).dtype
    points, values, queries = (ops.cast(x, widest) for x in (train_points, train_values, query_points))
    # The spline depends on neither, so no gradient goes through them.
    centre = ops.stop_gradient(ops.mean(points, axis=1, keepdims=True))
    scale = ops.stop_gradient(ops.sqrt(ops.mean(ops.sum((points - centre) ** 2, axis=-1), axis=1)))[:, None, None]
    points, queries = (points - centre) / scale, (queries - centre) / scale

    def terms(x: Tensor) -> Tensor:
        """The factors of the weights: each kernel, each coordinate, and 1."""
        # from differences: |a|^2 - 2ab + |b|^2 would lose all digits for points that are close together
        squared = ops.sum((x[:, :, None] - points[:, None]) ** 2, axis=-1)
        squared = ops.maximum(squared, 1e-30)  # the root and the logarithm of 0 have no finite gradient
        kernel = squared ** (order / 2)
        if order % 2 == 0:
            # With (s r)^2 log(s r) = s^2 (r^2 log(r) + r^2 log(s)) the linear part takes up what r^2 adds, but not what
            # a higher power does.
            unit = ops.log(scale) if order > 2 else 0.0
            kernel = kernel * (0.5 * ops.log(squared) + unit)
        return ops.concatenate([kernel, x, ops.ones_like(x[..., :1])], axis=-1)

    n, rank = points_shape[1:]
    # The kernel is s^order times smaller than in the unit of the points.
    upper = terms(points) + regularization / scale**order * ops.eye(n, n + rank + 1, dtype=widest)
    conditions = ops.transpose(upper[..., n:], (0, 2, 1))
    lower = ops.pad(conditions, ((0, 0), (0, 0), (0, rank + 1)))
    right = ops.pad(values, ((0, 0), (0, rank + 1), (0, 0)))
    spline = ops.matmul(terms(queries), ops.solve(ops.concatenate([upper, lower], axis=1), right))
    return ops.cast(spline, "float32")


def _check_points(points: Tensor, distinct: bool) -> None:
    """Raise `ValueError` for points ``(batch, n, rank)`` that do not determine exactly one spline."""
    n, rank = points.shape[1:]
    if n <= rank:
        raise ValueError(
            f"A spline with {rank} axes needs more than {rank} `train_points`. Received: {n}. Add some, beside the "
            "line or plane of the others."
        )
    known = known_values(points)
    for number, each in enumerate(() if known is None else known.astype(float)):
        from_middle = each - each.mean(axis=0)
        spread = np.linalg.svd(from_middle, compute_uv=False) if np.isfinite(each).all() else np.zeros(1)
        if not spread[-1] > 1e-6 * spread[0]:
            raise ValueError(
                f"The `train_points` of a spline are finite and do not all lie on one line{' or plane' * (rank > 2)}. "
                f"Received: sample {number} with {n} points that do, or that are not finite. Add one beside, or "
                "leave out the axis along which they do not differ."
            )
        apart = np.linalg.norm(from_middle[:, None] - from_middle, axis=-1) + spread[0] * np.eye(n)
        if distinct and apart.min() <= 1e-6 * spread[0] / np.sqrt(n):
            first, second = np.unravel_index(apart.argmin(), apart.shape)
            raise ValueError(
                "The `train_points` of a spline through all values differ from each other. Received: sample "
                f"{number}, where points {first} and {second} are both {each[first].tolist()}. Keep one of them, or "
                "give a `regularization`."
            )


def known_values(x: Tensor) -> np.ndarray | None:
    """The values of a tensor; None in a function that is being compiled, where they are not known yet."""
    try:
        return np.asarray(ops.convert_to_numpy(x))
    except (NotImplementedError, TypeError, ValueError):  # of TensorFlow, of JAX, of Keras' symbolic tensors
        return None


__getattr__ = forward("acreg.layers.thin_plate_spline", "acreg.layers.grid_spline")
