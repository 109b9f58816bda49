"""Continuous stage: a field that is optimised by its gradient at several resolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from acreg.errors import UsageError
from acreg.geometry import Grid, Image
from acreg.layers.compiled import value_and_gradient
from acreg.layers.functional import integrate, resize_displacement, spatial_shape, warp
from acreg.layers.tensor import Tensor
from acreg.losses import diffusion, soft_dice
from acreg.optimisation.fields import SQUARINGS, Field, without_folding
from acreg.optimisation.levels import Level, Levels, described, settled
from acreg.optimisation.similarities import Similarity

COMPILED = 2**17
"""Voxels from which the time that XLA saves in each step is worth the time that it takes to compile for that size."""


@dataclass(frozen=True)
class Settings:
    """What the continuous stage does; see `docs/decisions.md` for how the defaults were found.

    Args:
        kind: "velocity" or "displacement".
        smoothness: weight of the mean squared gradient of the field, in mm per mm.
        window: side of the windows of local NCC, in voxels of the axes with the smallest voxels; odd.
        anchor: weight of the mean squared distance of the field from its start, in voxels of its grid.
        steps: at each level at most, from coarse to fine; the last number holds for further levels.
        rate: of Adam, in voxels of the field's grid.
        landmarks: weight of their mean squared distance, in units of 10 mm.
        labels: weight of one minus the mean soft Dice of labels that guide.
        patience: steps over which the energy must fall by `gain`, or the level ends.
        gain: see `patience`; a share of what was gained at this level.
        folded_percent: the largest share of voxels that fold, in percent: see `without_folding`.

    Raises:
        UsageError: an even window.
    """

    kind: str = "velocity"
    smoothness: float = 0.4
    window: int = 5
    anchor: float = 0.0
    steps: tuple[int, ...] = (40, 40, 30)
    rate: float = 0.2
    landmarks: float = 1.0
    labels: float = 1.0
    patience: int = 10
    gain: float = 0.01
    folded_percent: float = 0.1

    def __post_init__(self) -> None:
        if self.window % 2 == 0:
            raise UsageError(f"A window has a middle voxel. Received: window={self.window}. Give an odd number.")


def _exponential(squarings: int) -> Callable[[Tensor], Tensor]:
    """The exponential of a velocity, with the gradient of the displacement taken for that of the velocity.

    Between the two halves of a symmetric flow, that is right to second order; the gradient of each squaring by its
    field, a scatter, would take most of the time.
    """

    @ops.custom_gradient
    def flow(velocity: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
        def gradient(*arguments: Tensor, upstream: Tensor | None = None) -> Tensor:
            return arguments[0] if upstream is None else upstream

        return integrate(velocity, squarings), gradient

    return flow


_half_flow, _whole_flow = _exponential(SQUARINGS - 1), _exponential(SQUARINGS)


class Continuous:
    """Optimises a field at several resolutions.

    At each level the energy is the weighted sum of the similarities, of the squared gradient of the field, of further
    regularisers, and of the squared distance of landmarks; Adam minimises it. With a velocity ``v``, both images are
    warped half way, the moving one by ``exp(v / 2)`` and the fixed one by ``exp(-v / 2)``, so that swapping them
    changes the sign of ``v``; with a displacement, the moving one alone. The smoothness and the similarities' windows
    are lengths in space: see `acreg.losses.diffusion` and `Settings`.

    What is compiled is kept for further pairs with grids of the same sizes.

    Args:
        similarities: their weighted sum is minimised.
        settings: see there.
        regularisers: further terms of the energy, ``(field, spacing) -> scalar``, of the field ``(1, *spatial, rank)``
            in voxels of its grid and the spacing of the grid, mm.
        one_size: whether all pairs have one size, for which graphs are then made and compiled.
    """

    def __init__(
        self,
        similarities: Sequence[Similarity],
        settings: Settings,
        regularisers: Sequence[Callable[[Tensor, Tensor], Tensor]] = (),
        one_size: bool = False,
    ) -> None:
        self.similarities, self.settings, self.regularisers = similarities, settings, regularisers
        self.one_size = one_size
        self._steps: dict[Any, Callable[..., tuple[Tensor, Tensor]]] = {}

    def optimise(
        self,
        workspace: Levels,
        start: Field | None = None,
        points: NDArray[np.float64] | None = None,
        labels: tuple[Image, Image] | None = None,
        progress: Callable[[str], None] | None = None,
        folded_percent: float | None = None,
    ) -> tuple[Field, list[dict[str, Any]]]:
        """The field for two images, and a record of each level, from coarse to fine.

        Args:
            workspace: the images.
            start: the first field; zero if left out. Levels whose field is coarser are left out, all but the finest.
            points: landmarks ``(2, n, rank)``, mm: those of the fixed image, and where the maps of the workspace must
                be preceded by the field's map to reach those of the moving image.
            labels: label maps of the fixed and of the moving image, whose soft Dice joins the energy.
            progress: called with a sentence after each level.
            folded_percent: instead of that of the settings, for a start that folds.
        """
        found, records = start, []
        for index, number in enumerate(reversed(range(workspace.levels))):
            level = workspace.level(number)
            grid = workspace.field_grid(number)
            if number and start is not None and math.prod(grid.shape) < math.prod(start.grid.shape):
                continue
            steps = self.settings.steps[min(index, len(self.settings.steps) - 1)]
            compared = [
                (level.fixed, level.moving) if one.features is None else workspace.features(number, one.features)
                for one in self.similarities
            ]
            data = {
                "spacing": ops.convert_to_tensor(np.asarray(grid.spacing, np.float32)),
                "fixed": [fixed for fixed, _ in compared],
                "moving": [moving for _, moving in compared],
                "weights": [level.fixed_weights, level.moving_weights],
                "points": None if points is None else ops.convert_to_tensor(_indices(points, grid)),
                "labels": None if labels is None else workspace.one_hot(number, *labels),
            }
            if labels is not None and data["labels"] is None and progress is not None:
                size = "x".join(map(str, level.grid.shape))
                progress(f"{size} voxels: too many labels for the memory, so that they do not guide at this resolution")
            found, record = self._at(level, data, grid, found, steps)
            records.append(record)
            if progress is not None:
                progress(described(record))
        if found is None:
            raise ValueError("There is no level to optimise at.")
        limit = self.settings.folded_percent if folded_percent is None else folded_percent
        return without_folding(found, workspace.grid, limit), records

    def _at(
        self,
        level: Level,
        data: dict[str, Any],
        grid: Grid,
        start: Field | None,
        steps: int,
    ) -> tuple[Field, dict[str, Any]]:
        """The field after one level, on a grid over the same extent."""
        if start is None:
            values = ops.zeros((1, *grid.shape, grid.rank), dtype="float32")
        else:
            values = resize_displacement(ops.convert_to_tensor(start.vectors[None]), grid.shape)
        side = min(level.grid.spacing)
        window = tuple(2 * round((self.settings.window * side / s - 1) / 2) + 1 for s in level.grid.spacing)
        key = window, not self.one_size and math.prod(level.grid.shape) < COMPILED
        if key not in self._steps:
            self._steps[key] = value_and_gradient(partial(self._energy, window), any_size=key[1])
        data["start"] = values if self.settings.anchor else None
        optimiser = keras.optimizers.Adam(self.settings.rate)
        variable = keras.Variable(values, name="field")
        best, energies = (math.inf, values), []
        for _ in range(steps):
            energy, gradient = self._steps[key](values, data)
            energies.append(float(energy))
            if not math.isfinite(energies[-1]):
                break
            if energies[-1] < best[0]:
                best = energies[-1], values
            if settled(energies, self.settings.patience, self.settings.gain):
                break
            optimiser.apply([gradient], [variable])
            # A copy: the next step changes the variable.
            values = ops.convert_to_tensor(ops.convert_to_numpy(variable).copy())
        found = Field(ops.convert_to_numpy(best[1])[0], grid, self.settings.kind)
        return found, level.record(energies, best[0])

    def _energy(self, window: tuple[int, ...], values: Tensor, data: dict[str, Any]) -> Tensor:
        """The energy of a field."""
        # As a sum over the components of the field.
        total = self.settings.smoothness * values.shape[-1] * ops.mean(diffusion(values, data["spacing"]))
        for regulariser in self.regularisers:
            total = total + regulariser(values, data["spacing"])
        if data["start"] is not None:
            moved = ops.sum(ops.square(values - data["start"]), axis=-1)
            total = total + self.settings.anchor * ops.mean(moved)
        sizes = spatial_shape(data["fixed"][0])
        back = None
        if self.settings.kind == "velocity":
            forth, back = (resize_displacement(_half_flow(values * half), sizes) for half in (0.5, -0.5))
        else:
            forth = resize_displacement(values, sizes)
        known = _both(_moved(data["weights"][0], back), _moved(data["weights"][1], forth))
        for one, fixed, moving in zip(self.similarities, data["fixed"], data["moving"], strict=True):
            fixed = fixed if back is None else warp(fixed, back)
            total = total + one.weight * one.compare(fixed, warp(moving, forth), known, window)
        if data["labels"] is not None:
            fixed, moving = data["labels"]
            fixed = fixed if back is None else warp(fixed, back)
            total = total + self.settings.labels * soft_dice(fixed, warp(moving, forth))[0]
        if data["points"] is not None:
            total = total + self.settings.landmarks * self._distance(values, data)
        return total

    def _distance(self, values: Tensor, data: dict[str, Any]) -> Tensor:
        """The mean squared distance of landmarks in mm after the registration, in units of 10 mm."""
        flow = self.settings.kind == "velocity"
        ways = [(_whole_flow(values), 0)] if flow else [(values, 0)]
        if flow:
            ways.append((_whole_flow(-values), 1))
        total: Tensor = 0.0
        for field, role in ways:
            at, goal = data["points"][role], data["points"][1 - role]
            wide = (1, -1, *(1,) * (values.shape[-1] - 1), values.shape[-1])
            lines = ops.cast(ops.arange(ops.shape(at)[0]), "float32")
            index = ops.stack([lines, *[ops.zeros_like(lines)] * (values.shape[-1] - 1)], axis=-1)
            moved = at + ops.reshape(warp(field, ops.reshape(at - index, wide)), ops.shape(at))
            total = total + ops.mean(ops.sum(ops.square((moved - goal) * data["spacing"]), axis=-1)) / 100.0
        return total / len(ways)


def _indices(points: NDArray[np.float64], grid: Grid) -> NDArray[np.float32]:
    """Points in space as voxel indices of a grid."""
    return grid.to_index(points).astype(np.float32)


def _moved(weights: Tensor | None, displacement: Tensor | None) -> Tensor | None:
    """Weights after a warp: 1 where all that a value is interpolated from counts."""
    if weights is None or displacement is None:
        return weights
    return ops.cast(ops.stop_gradient(warp(weights, ops.stop_gradient(displacement))) > 0.999, "float32")


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one * other
