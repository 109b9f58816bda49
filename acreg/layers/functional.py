"""The arithmetic of the layers as plain functions of tensors.

A displacement ``u`` has shape ``(batch, *spatial, rank)`` and is in voxels of its grid; component ``d``
belongs to array axis ``d``. Warping computes ``warped(p) = image(p + u(p))``, with voxel centres at integer positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from acreg.layers.tensor import Tensor
from acreg.layers.warping import spatial_shape, warp

__all__ = [
    "affine_displacement",
    "check_field",
    "compose",
    "integrate",
    "jacobian_determinant",
    "resize",
    "resize_displacement",
    "sizes_agree",
    "spatial_shape",
    "warp",
]


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The displacement that is equivalent to warping by ``first`` and then warping the result by ``second``.

    ``u(p) = second(p) + first(p + second(p))``; all are ``(batch, *spatial, rank)`` in voxels of one grid, the result
    is float32.
    """
    first, second = ops.cast(first, "float32"), ops.cast(second, "float32")
    return second + warp(first, second)


def affine_displacement(matrix: Tensor, shape: Sequence[int | Tensor], displacement: Tensor | None = None) -> Tensor:
    """The displacement of an affine map, or of a displacement and then the map, without interpolation.

    Args:
        matrix: ``(batch, rank, rank + 1)``, voxels: the map takes ``p`` to ``matrix (p, 1)``.
        shape: spatial, of the grid.
        displacement: ``d``, ``(batch, *shape, rank)`` in voxels; None for none.

    Returns:
        ``u(p) = matrix (p + d(p), 1) - p``, float32 ``(batch, *shape, rank)``. Warping by ``u`` is equivalent to
        warping by the displacement of the map and then by ``d``.
    """
    rank = len(shape)
    lines = [
        ops.reshape(ops.arange(n, dtype="float32"), tuple(-1 if a == axis else 1 for a in range(rank)))
        for axis, n in enumerate(shape)
    ]
    p = ops.stack([ops.broadcast_to(line, tuple(shape)) for line in lines], axis=-1)[None]
    at = p if displacement is None else p + ops.cast(displacement, "float32")
    matrix = ops.cast(matrix, "float32")
    wide = (-1,) + (1,) * rank
    moved = [
        sum((ops.reshape(matrix[:, d, e], wide) * at[..., e] for e in range(rank)), ops.reshape(matrix[:, d, -1], wide))
        for d in range(rank)
    ]
    return ops.stack(moved, axis=-1) - p


def integrate(velocity: Tensor, steps: int) -> Tensor:
    """The exponential of a stationary velocity field by scaling and squaring (Arsigny et al., MICCAI 2006).

    Args:
        velocity: ``(batch, *spatial, rank)``, voxels per unit of time.
        steps: number of squarings; the first step is ``velocity / 2**steps``.

    Returns:
        The displacement at time one, float32 ``(batch, *spatial, rank)``, voxels.
    """
    displacement = ops.cast(velocity, "float32") / float(2**steps)
    if keras.backend.backend() == "jax":
        # Unrolled, XLA on a CPU recomputes each squaring wherever the next one reads: at 64^3 it took 1.24 s instead of
        # 0.03 s. TensorFlow runs the warps one by one there, and XLA needs more time for the gradient of a loop.
        return ops.fori_loop(0, steps, lambda _, u: compose(u, u), displacement)
    for _ in range(steps):
        displacement = compose(displacement, displacement)
    return displacement


def resize(x: Tensor, shape: Sequence[int | Tensor]) -> Tensor:
    """Linear resize of ``(batch, *spatial, channels)`` to the spatial ``shape``, keeping the extent.

    Voxel ``p`` of the result lies at ``(p + 0.5) * n_in / n_out - 0.5`` of the input; outside, the edge values are
    used. Axes are resized one after the other by a matrix product, which is exact and fast and has a fast gradient.
    When the size is reduced, nothing is smoothed.
    """
    for axis, (size, target) in enumerate(zip(spatial_shape(x), shape, strict=True), start=1):
        if isinstance(size, int) and size == target:
            continue
        size_f, target_f = ops.cast(size, "float32"), ops.cast(target, "float32")
        position = (ops.arange(target, dtype="float32") + 0.5) * (size_f / target_f) - 0.5
        position = ops.clip(position, 0.0, size_f - 1.0)
        distance = ops.abs(position[:, None] - ops.arange(size, dtype="float32")[None, :])
        matrix = ops.cast(ops.relu(1.0 - distance), x.dtype)
        x = ops.moveaxis(ops.tensordot(matrix, x, axes=[[1], [axis]]), 0, axis)
    return x


def resize_displacement(displacement: Tensor, shape: Sequence[int | Tensor]) -> Tensor:
    """Linear resize of a displacement to the spatial ``shape``, values in voxels of the new grid; float32."""
    factors = [
        ops.cast(target, "float32") / ops.cast(size, "float32")
        for size, target in zip(spatial_shape(displacement), shape, strict=True)
    ]
    # the factors first: fields are mostly enlarged
    return resize(ops.cast(displacement, "float32") * ops.stack(factors), shape)


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Determinant of the Jacobian of ``p + u(p)``, float32 ``(batch, *spatial)``.

    Central differences inside, one-sided at the border (as ``numpy.gradient``). The identity has determinant 1; at or
    below 0 the transformation folds.
    """
    rank = displacement.shape[-1]
    displacement = ops.cast(displacement, "float32")
    rows = []
    for axis in range(rank):
        n = displacement.shape[axis + 1]

        def part(start: int | None, stop: int | None, axis: int = axis) -> Tensor:
            index = [slice(None)] * (rank + 2)
            index[axis + 1] = slice(start, stop)
            return displacement[tuple(index)]

        if n == 1:
            rows.append(ops.zeros_like(displacement))
            continue
        rows.append(
            ops.concatenate(
                [part(1, 2) - part(0, 1), (part(2, None) - part(None, -2)) / 2, part(-1, None) - part(-2, -1)],
                axis=axis + 1,
            )
        )
    j = [[rows[a][..., c] + (1.0 if a == c else 0.0) for a in range(rank)] for c in range(rank)]
    if rank == 2:
        return j[0][0] * j[1][1] - j[0][1] * j[1][0]
    return (
        j[0][0] * (j[1][1] * j[2][2] - j[1][2] * j[2][1])
        - j[0][1] * (j[1][0] * j[2][2] - j[1][2] * j[2][0])
        + j[0][2] * (j[1][0] * j[2][1] - j[1][1] * j[2][0])
    )


def check_field(name: str, shape: Sequence[int | None]) -> None:
    """Raises ValueError unless ``shape`` is that of a 2-D or 3-D displacement or velocity field."""
    rank = len(shape) - 2
    if rank not in (2, 3) or shape[-1] != rank:
        raise ValueError(
            f"`{name}` must have shape (batch, *spatial, rank) with 2 or 3 spatial axes and as many components. "
            f"Received: {name}.shape={tuple(shape)}"
        )


def sizes_agree(a: Sequence[int | None], b: Sequence[int | None]) -> bool:
    """Whether two shapes are equal, as far as both are known."""
    return len(a) == len(b) and all(m is None or n is None or m == n for m, n in zip(a, b, strict=True))


def two(names: tuple[str, str], first: Any, second: Any) -> tuple[Any, Any]:
    """The two inputs of a layer, or their shapes, which are also given as one list or tuple of two.

    Raises:
        ValueError: there is one, or more than two.
    """
    if second is not None:
        return first, second
    if not isinstance(first, (list, tuple)) or len(first) != 2 or any(x is None or isinstance(x, int) for x in first):
        one, other = names
        raise ValueError(
            f"The layer takes `{one}` and `{other}`, as two arguments or as a list of two. Received: "
            f"{type(first).__name__}{f' of {len(first)}' if isinstance(first, (list, tuple)) else ''} alone"
        )
    return first[0], first[1]
