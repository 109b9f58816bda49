"""Sums over boxes of voxels."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from acreg.layers.tensor import Tensor


def box_sum(x: Tensor, window: Sequence[int], mirrored: bool = False) -> Tensor:
    """The sum over the box around every voxel; at the border, over its part in the image.

    Partial sums are doubled, so that a box of 9 voxels takes four additions per axis. Nothing is summed along a whole
    axis, which float32 could not do accurately.

    Args:
        x: ``(..., *spatial)``, floating point.
        window: for each spatial axis, the size of the box in voxels. A box of even size has one voxel more after its
            centre than before it.
        mirrored: one voxel more before the centre, which makes the sum the adjoint of the other one.

    Returns:
        as ``x``.
    """
    rank = len(x.shape)
    for axis in range(rank - 1, rank - 1 - len(window), -1):
        x = _sum_along(x, axis, *_reach(window[axis - rank], mirrored))
    return x


def box_counts(x: Tensor, window: Sequence[int]) -> list[Tensor]:
    """For each spatial axis, one over the number of voxels of the box that lie in the image.

    They are separate, because XLA takes minutes to multiply constants of the image's size while it compiles.

    Args:
        x, window: see `box_sum`.

    Returns:
        arrays that broadcast with ``x``.
    """
    rank, first = len(x.shape), len(x.shape) - len(window)
    dynamic = ops.shape(x)
    found = []
    for axis in range(first, rank):
        before, after = _reach(window[axis - rank])
        last = dynamic[axis] - 1
        place = ops.arange(dynamic[axis], dtype="int32")
        count = ops.minimum(place + after, last) - ops.maximum(place - before, 0) + 1
        found.append(ops.reshape(ops.cast(count, x.dtype), (-1,) + (1,) * (rank - 1 - axis)))
    return found


def _reach(window: int, mirrored: bool = False) -> tuple[int, int]:
    """How many voxels a box has before and after its centre."""
    before, after = (window - 1) // 2, window // 2
    return (after, before) if mirrored else (before, after)


def _sum_along(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    rank, size = len(x.shape), x.shape[axis]
    if size is not None:  # a box that reaches further than the image contains nothing more
        before, after = min(before, size - 1), min(after, size - 1)

    def part(of: Tensor, start: int, stop: int | None) -> Tensor:
        return of[tuple(slice(start, stop) if a == axis else slice(None) for a in range(rank))]

    window = before + after + 1
    sums = ops.pad(x, [(before, after) if a == axis else (0, 0) for a in range(rank)])
    total, start, length = None, 0, 1
    while True:  # sums are over `length` voxels; the binary digits of the window say which of them are added
        if window & length:
            piece = part(sums, start, (start + length - window) or None)
            total, start = piece if total is None else total + piece, start + length
        if 2 * length > window:
            return total
        sums, length = part(sums, 0, -length) + part(sums, length, None), 2 * length
