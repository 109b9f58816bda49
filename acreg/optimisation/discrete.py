"""Discrete search for large displacements: coupled convex optimisation over all shifts up to a radius."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops

from acreg.errors import AcregError
from acreg.layers.functional import compose, resize_displacement
from acreg.layers.tensor import Tensor
from acreg.layers.warping import no_gradients, warp

COUPLINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weights of the squared distance from the smooth field, one after the other."""
CONSISTENCY_STEPS = 15
MEAN_COST = 4.0
"""What the mean cost is scaled to, so that the couplings do not depend on the kind of features and on their number."""
LARGEST = 2**27
"""The largest number of costs, 512 MiB."""


def coupled_convex(
    fixed: Tensor,
    moving: Tensor,
    *,
    cell: int | Sequence[int],
    radius: int | Sequence[int],
    spacing: Sequence[float] | None = None,
    fixed_weights: Tensor | None = None,
    moving_weights: Tensor | None = None,
) -> Tensor:
    """The displacement that makes features of two images alike, searched among all shifts up to a radius.

    The features are averaged over cells. For each cell ``x`` and each shift ``s`` by whole cells, the cost
    ``C(x, s) = sum_k (fixed_k(x) - moving_k(x + s))^2`` is averaged over the cells around ``x`` with the weights 1, 2,
    3, 2, 1 along each axis. With a smooth field ``u``, at first the mean of the cheapest shifts, and with each ``c`` of
    `COUPLINGS`, each cell takes the shift with the lowest ``C(x, s) + c |s - u(x)|^2``, and ``u`` becomes the mean of
    these over 3 cells along each axis. The same is done with the images swapped, and the two fields are made inverse to
    each other by 15 times ``u = (u - v o (id + u)) / 2`` for both. Swapping the images thus swaps the fields.

    What is not in the moving image, or has no weight, is not known: costs are means over what is known. Where nothing
    is, a shift costs as much as a typical match, and the field continues that of the cells around. It is therefore not
    drawn to zero at borders.

    Args:
        fixed, moving: features on one grid, ``(1, *spatial, channels)``, 2-D or 3-D. A factor common to all of them has
            no influence.
        cell: voxels per side of a cell, for all axes or for each. The last cell of an axis may be incomplete.
        radius: the largest shift in cells, for all axes or for each.
        spacing: of the voxels along each axis, in any unit: ``|s - u|`` is a length in multiples of the cells'
            (geometric) mean side. None for the same on all axes.
        fixed_weights, moving_weights: how much each voxel counts, ``(1, *spatial, 1)``, from 0 to 1. None for all 1.

    Returns:
        ``u``, float32 ``(1, *spatial, rank)``, voxels of that grid: ``fixed(p)`` corresponds to ``moving(p + u(p))``.

    Raises:
        AcregError: the costs would need more than 512 MiB.

    Source: Heinrich et al., Non-parametric discrete registration with convex optimisation, WBIR 2014; with inverse
    consistency, Siebert et al., Fast 3D registration with accurate optimisation and little learning, 2021.
    """
    sizes = tuple(fixed.shape[1:-1])
    cell, radius = _each(cell, len(sizes)), _each(radius, len(sizes))
    cells = [-(-n // c) for n, c in zip(sizes, cell, strict=True)]
    sides = np.array(cell) * (np.ones(len(sizes)) if spacing is None else np.array(spacing, float))
    radius = tuple(min(r, n - 1) for r, n in zip(radius, cells, strict=True))
    count = int(np.prod([2 * r + 1 for r in radius])) * int(np.prod(cells))
    if count > LARGEST:
        raise AcregError(
            f"A discrete search may compute at most {LARGEST} costs, which take 512 MiB. Received: {count}, for shifts "
            f"of up to {radius} cells of {cell} voxels in {sizes} voxels. Use larger cells or a smaller radius."
        )
    first = _Cells.of(fixed, fixed_weights, cell)
    second = _Cells.of(moving, moving_weights, cell)
    scales = (sides / np.exp(np.log(sides).mean())).tolist()
    with no_gradients():
        u = ops.stack([_search(first, second, radius, scales), _search(second, first, radius, scales)])
        for _ in range(CONSISTENCY_STEPS):
            u = (u - warp(ops.flip(u, axis=0), u)) / 2.0
    whole = resize_displacement(u[:1], [n * c for n, c in zip(cells, cell, strict=True)])
    return whole[(slice(None), *(slice(0, n) for n in sizes))]


def coarse_to_fine(
    fixed: Tensor,
    moving: Tensor,
    steps: Sequence[tuple[int | Sequence[int], int | Sequence[int]]],
    *,
    spacing: Sequence[float] | None = None,
    fixed_weights: Tensor | None = None,
    moving_weights: Tensor | None = None,
) -> Tensor:
    """Searches by `coupled_convex` one after the other, each for what the ones before have left over.

    Args:
        fixed, moving, spacing, fixed_weights, moving_weights: see `coupled_convex`.
        steps: cell and radius of each search, such as ``[(4, 3), (2, 1)]``.

    Returns:
        The composed displacement, float32 ``(1, *spatial, rank)`` in voxels.

    Raises:
        AcregError: see `coupled_convex`.
    """
    if moving_weights is None:
        moving_weights = ops.ones_like(moving[..., :1])
    there, weights, whole = moving, moving_weights, None
    with no_gradients():
        for cell, radius in steps:
            if whole is not None:  # what comes from outside, or has no weight, is not known
                weights = warp(moving_weights, whole, border="constant")
                there = warp(moving * moving_weights, whole, border="constant") / ops.maximum(weights, 1e-6)
            found = coupled_convex(
                fixed,
                there,
                cell=cell,
                radius=radius,
                spacing=spacing,
                fixed_weights=fixed_weights,
                moving_weights=weights,
            )
            whole = found if whole is None else compose(whole, found)
    return whole


def _each(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


@dataclass(frozen=True, eq=False)
class _Cells:
    """The features of an image by cells.

    Args:
        known: the share of each cell that counts, ``cells``.
        features: their mean over that share, ``(channels, *cells)``: with the channels first, sums over them are fast.
    """

    known: Tensor
    features: Tensor

    @classmethod
    def of(cls, features: Tensor, weights: Tensor | None, cell: Sequence[int]) -> _Cells:
        features = ops.cast(features, "float32")
        weights = ops.ones_like(features[..., :1]) if weights is None else ops.cast(weights, "float32")
        total = ops.concatenate([weights, weights * features], axis=-1)
        for axis, size in enumerate(cell, start=1):
            count = -(-total.shape[axis] // size)
            padding = [(0, 0)] * len(total.shape)
            padding[axis] = (0, count * size - total.shape[axis])
            split = (*total.shape[:axis], count, size, *total.shape[axis + 1 :])
            total = ops.sum(ops.reshape(ops.pad(total, padding), split), axis=axis + 1)
        total = ops.moveaxis(total[0], -1, 0)
        return cls(total[0] / float(np.prod(cell)), total[1:] / ops.maximum(total[:1], 1e-6))


@dataclass(frozen=True, eq=False)
class _Costs:
    """The mean costs of shifts at all cells, one array for each shift along the first axis.

    Args:
        shifts: for each axis its shifts, cells; the shortest ones first, which are preferred to others of equal cost.
        costs: ``(shifts along the other axes..., number of cells)`` for each shift along the first axis.
        known: whether the cost is known, ``(all shifts, number of cells)``.
    """

    shifts: list[list[int]]
    costs: list[Tensor]
    known: Tensor

    @classmethod
    def of(cls, fixed: _Cells, moving: _Cells, radius: Sequence[int]) -> _Costs:
        """A cost is known if around its cell at least half as much is known as one whole cell contributes.

        One that is not known is the mean of the cells' lowest costs.
        """
        rank, shape = len(radius), tuple(fixed.known.shape)
        pad = [(r, r) for r in radius]
        known, features = ops.pad(moving.known, pad), ops.pad(moving.features, [(0, 0), *pad])
        shifts = [sorted(range(-r, r + 1), key=abs) for r in radius]
        least = 0.5 * 3.0**rank
        slabs, masks = [], []
        for along_first in shifts[0]:
            weights, sums = [], []
            for rest in itertools.product(*shifts[1:]):
                start = [r + s for r, s in zip(radius, (along_first, *rest), strict=True)]
                weight = fixed.known * ops.slice(known, start, shape)
                there = ops.slice(features, [0, *start], fixed.features.shape)
                weights.append(weight)
                sums.append(weight * ops.sum(ops.square(fixed.features - there), axis=0))
            weight, total = (_window_sum(ops.stack(x)) for x in (weights, sums))
            slabs.append(total / ops.maximum(weight, least))
            masks.append(weight >= least)
        lowest = ops.stack([ops.min(ops.where(m, c, np.inf), axis=0) for m, c in zip(masks, slabs, strict=True)])
        lowest = ops.convert_to_numpy(ops.min(lowest, axis=0))
        found = lowest[np.isfinite(lowest)]
        typical = float(found.mean()) if found.size else 0.0
        sizes = tuple(len(s) for s in shifts[1:])
        known = ops.reshape(ops.stack(masks), (-1, int(np.prod(shape))))
        count = max(float(ops.sum(ops.cast(known, "float32"))), 1.0)
        mean = sum(float(ops.sum(ops.where(m, c, 0.0))) for m, c in zip(masks, slabs, strict=True)) / count
        scale = MEAN_COST / mean if mean else 1.0
        costs = [ops.reshape(ops.where(m, c, typical) * scale, (*sizes, -1)) for m, c in zip(masks, slabs, strict=True)]
        return cls(shifts, costs, known)

    def cheapest(self, coupling: float, field: Tensor, scales: Sequence[float]) -> Tensor:
        """For each cell the number of the shift with the lowest sum of cost and ``coupling |shift - field|^2``.

        ``field`` is ``(rank, number of cells)``, ``scales`` are the lengths of a cell along each axis.
        """
        away = [
            coupling * scale**2 * ops.square(np.array(shifts, "float32")[:, None] - field[None, axis])
            for axis, (shifts, scale) in enumerate(zip(self.shifts, scales, strict=True))
        ]
        lowest, best, before = None, None, 0
        for along_first, cost in zip(ops.unstack(away[0]), self.costs, strict=True):
            penalty = along_first
            for others in away[1:]:
                penalty = penalty[..., None, :] + others
            total = ops.reshape(cost + penalty, (-1, cost.shape[-1]))
            value = ops.min(total, axis=0)
            # The first one of several: argmin does not promise that on every device, and takes longer.
            numbers = np.arange(before, before + total.shape[0], dtype="int32")[:, None]
            number = ops.min(ops.where(total <= value, numbers, np.iinfo("int32").max), axis=0)
            before += total.shape[0]
            if lowest is None:
                lowest, best = value, number
            else:
                best = ops.where(value < lowest, number, best)
                lowest = ops.minimum(lowest, value)
        return best


def _search(fixed: _Cells, moving: _Cells, radius: Sequence[int], scales: Sequence[float]) -> Tensor:
    """The field of one direction, ``(*cells, rank)`` in cells."""
    shape = tuple(fixed.known.shape)
    costs = _Costs.of(fixed, moving, radius)
    every = ops.convert_to_tensor(np.array(list(itertools.product(*costs.shifts)), "float32").T)
    count = int(np.prod(shape))
    field = ops.zeros((len(shape), count), dtype="float32")
    for coupling in (0.0, *COUPLINGS):
        best = costs.cheapest(coupling, field, scales)
        known = ops.take(ops.reshape(costs.known, (-1,)), best * count + np.arange(count, dtype="int32"), axis=0)
        field = _smooth(ops.reshape(ops.take(every, best, axis=1), (-1, *shape)), ops.reshape(known, (1, *shape)))
        field = ops.reshape(field, (len(shape), -1))
    return ops.moveaxis(ops.reshape(field, (-1, *shape)), 0, -1)


def _window_sum(x: Tensor) -> Tensor:
    """Sums of ``(any, *cells)`` with the weights 1, 2, 3, 2, 1 along each axis, as of two windows of 3; 0 outside.

    On a CPU, products with a matrix are several times faster than sums of shifted arrays and pooling.
    """
    shape = tuple(x.shape)
    for axis in range(1, len(shape)):
        n = shape[axis]
        weights = np.maximum(3 - np.abs(np.subtract.outer(np.arange(n), np.arange(n))), 0).astype("float32")
        lines = ops.reshape(x, (int(np.prod(shape[:axis])), n, -1))
        x = ops.reshape(ops.matmul(weights, lines), shape)
    return x


def _smooth(shifts: Tensor, known: Tensor) -> Tensor:
    """Mean over windows of 3 cells along each axis of the shifts whose cost is known; both ``(values, *cells)``.

    Cells without any in their window take the mean of their neighbours, one row after the other; without any at all, 0.
    """
    field, found = shifts, ops.cast(known, "float32")
    inside = None
    while True:
        sums = ops.concatenate([field * found, found], axis=0)
        for axis in range(1, len(sums.shape)):
            sums = sums + _shifted(sums, 1, axis) + _shifted(sums, -1, axis)
        mean = sums[:-1] / ops.maximum(sums[-1:], 1.0)
        field = mean if inside is None else ops.where(inside, field, mean)
        inside = sums[-1:] > 0
        count, found = float(ops.sum(found)), ops.cast(inside, "float32")
        if float(ops.sum(found)) in (count, float(np.prod(found.shape))):
            return field


def _shifted(x: Tensor, by: int, axis: int) -> Tensor:
    padding, index = [(0, 0)] * len(x.shape), [slice(None)] * len(x.shape)
    padding[axis] = (max(by, 0), max(-by, 0))
    index[axis] = slice(max(-by, 0), max(-by, 0) + x.shape[axis])
    return ops.pad(x, padding)[tuple(index)]
