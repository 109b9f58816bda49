"""Continuous stage: a field that is optimised by its gradient at several resolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from acreg.geometry import Displacement, Grid, Velocity, folding
from acreg.layers.functional import integrate, jacobian_determinant, resize_displacement, warp
from acreg.layers.tensor import Tensor
from acreg.optimisation.gradients import value_and_gradient
from acreg.optimisation.similarities import Similarity
from acreg.optimisation.workspace import Level, Workspace

SQUARINGS = 5
"""Of the flow while it is optimised; a velocity changes by less than a voxel in each of the steps."""
WINDOW = 9
"""Side of the windows of local NCC, in voxels of the axes with the smallest voxels."""


@dataclass(frozen=True)
class Settings:
    """What the continuous stage does; see `docs/decisions.md` for how the defaults were found.

    Args:
        kind: "velocity" or "displacement".
        smoothness: weight of the mean squared gradient of the field, in mm per mm.
        steps: at each level at most, from coarse to fine; the last number holds for further levels.
        rate: of Adam, in voxels of the field's grid.
        patience: steps over which the energy must fall by `gain`, or the level ends.
        gain: see `patience`; a share of what was gained at this level.
        folded_percent: the largest share of voxels that fold, in percent: see `without_folding`.
    """

    kind: str = "velocity"
    smoothness: float = 0.3
    steps: tuple[int, ...] = (60, 60, 60)
    rate: float = 0.1
    patience: int = 10
    gain: float = 0.01
    folded_percent: float = 0.1


@dataclass(frozen=True, eq=False)
class Field:
    """A field on a grid of the working space, in voxels of it, ``(*grid.shape, rank)``; a velocity or a displacement."""

    vectors: NDArray[np.float32]
    grid: Grid
    kind: str

    def map(self) -> Velocity | Displacement:
        """The field as a map of physical space."""
        return Velocity(self.vectors, self.grid) if self.kind == "velocity" else Displacement(self.vectors, self.grid)


def squared_gradient(values: Tensor, spacing: Sequence[float]) -> Tensor:
    """The mean squared gradient of a field in mm per mm, a scalar; the same at any spacing.

    Args:
        values: ``(1, *spatial, rank)``, voxels.
        spacing: of the voxels, mm.
    """
    rank = values.shape[-1]
    in_mm = values * np.asarray(spacing, np.float32)
    total: Tensor = 0.0
    for axis, side in enumerate(spacing):
        size = values.shape[axis + 1]
        if size > 1:
            after, before = (ops.take(in_mm, ops.arange(*ends), axis=axis + 1) for ends in ((1, size), (0, size - 1)))
            total = total + ops.mean(ops.sum(ops.square((after - before) / side), axis=-1))
    return total / rank


@ops.custom_gradient
def _flow(velocity: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
    """The exponential, with the gradient of the displacement taken for that of the velocity.

    Between the two halves of a symmetric flow, that is right to second order; the gradient of each squaring by its
    field, a scatter, would take most of the time.
    """

    def gradient(*arguments: Tensor, upstream: Tensor | None = None) -> Tensor:
        return arguments[0] if upstream is None else upstream

    return integrate(velocity, SQUARINGS - 1), gradient


@dataclass(frozen=True, eq=False)
class Term:
    """A further term of the energy, such as the distance of landmarks.

    Args:
        name: for the record.
        value: of the displacement fixed to moving and its inverse, both ``(1, *field's spatial, rank)`` in voxels of the
            field's grid, and that grid; returns a scalar.
    """

    name: str
    value: Callable[[Tensor, Tensor, Grid], Tensor]


@dataclass(frozen=True, eq=False)
class Continuous:
    """Optimises a field at several resolutions.

    At each level the energy is the weighted sum of the similarities, of `squared_gradient` and of the terms; Adam
    minimises it. With a velocity ``v``, both images are warped half way, the moving one by ``exp(v / 2)`` and the fixed
    one by ``exp(-v / 2)``, so that swapping them changes the sign of ``v``; with a displacement, the moving one alone.

    The smoothness and the similarities' windows are lengths in space: see `squared_gradient` and `WINDOW`.
    """

    similarities: Sequence[Similarity]
    settings: Settings = Settings()
    terms: Sequence[Term] = ()
    progress: Callable[[str], None] | None = None
    record: list[dict[str, Any]] = field(default_factory=list)

    def optimise(self, workspace: Workspace, start: Field | None = None) -> Field:
        """The field for two images, from coarse to fine; begins with `start`, or with zero."""
        steps, found = self.settings.steps, start
        for index, number in enumerate(reversed(range(workspace.levels))):
            level = workspace.level(number)
            grid = workspace.coarser(workspace.factors(number + 1))
            found = self._at(level, grid, found, steps[min(index, len(steps) - 1)])
        if found is None:
            raise ValueError("There is no level to optimise at.")
        return without_folding(found, workspace.grid, self.settings.folded_percent)

    def _at(self, level: Level, grid: Grid, start: Field | None, steps: int) -> Field:
        """The field after one level, on a grid over the same extent."""
        rank = grid.rank
        if start is None:
            values = ops.zeros((1, *grid.shape, rank), dtype="float32")
        else:
            values = resize_displacement(ops.convert_to_tensor(start.vectors[None]), grid.shape)
        step = value_and_gradient(self._energy(level, grid))
        optimiser = keras.optimizers.Adam(self.settings.rate)
        variable = keras.Variable(values, name="field")
        best, energies = (math.inf, values), []
        for _ in range(steps):
            energy, parts, gradient = step(values)
            energies.append(float(energy))
            if not math.isfinite(energies[-1]):
                break
            if energies[-1] < best[0]:
                best = energies[-1], values
            if self._settled(energies):
                break
            optimiser.apply([gradient], [variable])
            values = ops.convert_to_tensor(np.array(variable))  # not the variable itself, which the next step changes
        record = {
            "spacing": tuple(round(s, 3) for s in level.grid.spacing),
            "voxels": int(np.prod(level.grid.shape)),
            "steps": len(energies),
            "energy": (energies[0], best[0]),
        }
        self.record.append(record)
        if self.progress is not None:
            self.progress(
                f"{'x'.join(map(str, level.grid.shape))} voxels: energy {energies[0]:.4f} to {best[0]:.4f} "
                f"in {len(energies)} steps"
            )
        return Field(ops.convert_to_numpy(best[1])[0], grid, self.settings.kind)

    def _settled(self, energies: list[float]) -> bool:
        """Whether the energy falls no more."""
        patience = self.settings.patience
        if len(energies) <= patience:
            return False
        before, now = min(energies[:-patience]), min(energies)
        return before - now < self.settings.gain * (energies[0] - now)

    def _energy(self, level: Level, grid: Grid) -> Callable[[Tensor], tuple[Tensor, Any]]:
        """The energy of a field on a grid, and its parts."""
        sizes = level.grid.shape
        side = min(level.grid.spacing)
        window = tuple(2 * round((WINDOW * side / s - 1) / 2) + 1 for s in level.grid.spacing)
        compared = [(one, *self._features(one, level)) for one in self.similarities]
        weights = [level.fixed_weights, level.moving_weights]

        def energy(values: Tensor) -> tuple[Tensor, Any]:
            forward, backward = self._displacements(values)
            total = self.settings.smoothness * squared_gradient(values, grid.spacing)
            fine = resize_displacement(forward, sizes)
            back = None if backward is None else resize_displacement(backward, sizes)
            known = _both(weights[0] if back is None else _moved(weights[0], back), _moved(weights[1], fine))
            parts = {}
            for one, fixed, moving in compared:
                value = one.compare(fixed if back is None else warp(fixed, back), warp(moving, fine), known, window)
                parts[one.name] = value
                total = total + one.weight * value
            if self.terms:
                whole = _flow_of(values) if self.settings.kind == "velocity" else values
                inverse = _flow_of(-values) if self.settings.kind == "velocity" else -values
                for term in self.terms:
                    total = total + term.value(whole, inverse, grid)
            return total, parts

        return energy

    def _displacements(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.settings.kind == "velocity":
            return _flow(values * 0.5), _flow(values * -0.5)
        return values, None

    def _features(self, one: Similarity, level: Level) -> tuple[Tensor, Tensor]:
        if one.features is None:
            return level.fixed, level.moving
        return one.features(level.fixed), one.features(level.moving)


@ops.custom_gradient
def _flow_of(velocity: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
    """As `_flow`, over the whole time."""

    def gradient(*arguments: Tensor, upstream: Tensor | None = None) -> Tensor:
        return arguments[0] if upstream is None else upstream

    return integrate(velocity, SQUARINGS), gradient


def _moved(weights: Tensor | None, displacement: Tensor) -> Tensor | None:
    """Weights after a warp: 1 where all that a value is interpolated from counts."""
    if weights is None:
        return None
    return ops.cast(ops.stop_gradient(warp(weights, ops.stop_gradient(displacement))) > 0.999, "float32")


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one * other


def without_folding(found: Field, grid: Grid, percent: float) -> Field:
    """The field, smoothed until at most a share of the voxels of `grid` folds.

    Only the surroundings of the places that fold are smoothed, by more and more.
    """
    vectors, sigma = found.vectors, 0.0
    factors = [n // m for n, m in zip(grid.shape, found.grid.shape, strict=True)]
    for _ in range(20):
        field_now = Field(vectors, found.grid, found.kind)
        tensor = ops.convert_to_tensor(vectors[None])
        u = integrate(tensor, SQUARINGS + 2) if found.kind == "velocity" else tensor
        u = ops.convert_to_numpy(resize_displacement(u, grid.shape))[0]
        if folding(u)["folded_percent"] <= percent:
            return field_now
        sigma += 0.5
        folded = ops.convert_to_numpy(jacobian_determinant(ops.convert_to_tensor(u[None])))[0] <= 0
        vectors = _smoothed_at(vectors, folded, factors, sigma)
    return Field(vectors, found.grid, found.kind)


def _smoothed_at(
    vectors: NDArray[np.float32], folded: NDArray[np.bool_], factors: Sequence[int], sigma: float
) -> NDArray[np.float32]:
    """A field, smoothed around voxels of a finer grid."""
    from scipy import ndimage

    shape = [n for size, f in zip(vectors.shape[:-1], factors, strict=True) for n in (size, f)]
    coarse = folded.reshape(shape).any(axis=tuple(range(1, len(shape), 2)))
    share = np.clip(ndimage.gaussian_filter(coarse.astype(np.float32), 2.0) * 20, 0, 1)[..., None]
    smooth = ndimage.gaussian_filter(vectors, (*(sigma,) * len(factors), 0), mode="nearest")
    return (vectors + share * (smooth - vectors)).astype(np.float32)
