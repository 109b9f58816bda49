"""Optimisation of a predicted field for one pair of images: the continuous stage, started from the network's field."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from acreg.geometry import Grid
from acreg.inference.registering import over, padded_grid
from acreg.layers.functional import affine_displacement, resize_displacement, warp
from acreg.layers.tensor import Tensor
from acreg.layers.warping import no_gradients
from acreg.losses import FIELD_LOSSES, IMAGE_LOSSES, LOSSES, Loss, LossWeights, choose_losses
from acreg.losses.loss import FIELD, IMAGES
from acreg.models.field_model import FieldModel
from acreg.optimisation.continuous import Continuous, Settings
from acreg.optimisation.fields import Field, folded_voxels
from acreg.optimisation.levels import Level, OneLevel
from acreg.optimisation.similarities import similarity

ANCHOR = {"velocity": 0.1, "displacement": 1.0}
"""The default weight of the anchor by kind of field."""
WINDOW = 7
"""Of local NCC, see `acreg.optimisation.Settings`."""
RATE = {"velocity": 0.05, "displacement": 0.02}
"""The default learning rate."""


@dataclass(frozen=True)
class RefinementSettings:
    """See `RegistrationModel.refine`."""

    steps: int
    losses: LossWeights | None
    anchor: float | None
    learning_rate: float | None
    patience: int
    folding_limit: float


class Refining:
    """Refines pairs that a model registered; what is compiled is kept for further pairs of the same size."""

    def __init__(self, model: FieldModel) -> None:
        self.model = model
        self._kept: dict[Any, Continuous] = {}

    def refined(self, batch: Mapping[str, np.ndarray], grid: Grid, settings: RefinementSettings) -> dict[str, Tensor]:
        """The model's prediction for one pair on the network's grid, after optimising its field.

        See `FieldModel.predict_field`.
        """
        stage = self._stage(settings)
        images = {role: ops.convert_to_tensor(image) for role, image in batch.items()}
        with no_gradients():
            found = self._predicted(images)
        padded = padded_grid(self.model.multiple, grid)
        vectors = np.asarray(ops.convert_to_numpy(found.pop("field"))[0], np.float32)
        start = Field(vectors, over(padded, vectors.shape[:-1]), stage.settings.kind)
        limit = 100.0 * float(folded_voxels(start, padded).mean()) + settings.folding_limit
        level = _level(images, padded, found.get("affine"))
        best, _ = stage.optimise(OneLevel(level, start.grid), start, folded_percent=limit)
        field = ops.convert_to_tensor(best.vectors[None])
        if self.model.integration_steps:
            return {"velocity": field, **found}
        inside = tuple(slice((p - n) // 2, (p - n) // 2 + n) for n, p in zip(grid.shape, padded.shape, strict=True))
        return {"displacement": resize_displacement(field, padded.shape)[(slice(None), *inside)], **found}

    def _predicted(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of the network, with the field on its own grid."""
        sizes = images["fixed"].shape[1:-1]
        found = self.model._run_network(self.model._network_inputs(images, False), sizes, False)
        if type(self.model)._to_padded_grid is not FieldModel._to_padded_grid:
            # Control points are no field: the displacement is refined that they give.
            found["field"] = self.model._to_padded_grid(found["field"], self.model._padded(sizes))
        return found

    def _stage(self, settings: RefinementSettings) -> Continuous:
        """The optimisation with these losses and settings."""
        losses = self._losses(settings.losses)
        key = (
            *((loss.name, loss.function, str(loss.arguments), weight) for loss, weight in losses.items()),
            *(settings.steps, settings.anchor, settings.learning_rate, settings.patience),
        )
        if key not in self._kept:
            kind = "velocity" if self.model.integration_steps else "displacement"
            stage = Settings(
                kind=kind,
                smoothness=0.0,
                window=WINDOW,
                anchor=ANCHOR[kind] if settings.anchor is None else settings.anchor,
                steps=(settings.steps + 1,),  # the energy after the last step is measured, too
                rate=RATE[kind] if settings.learning_rate is None else settings.learning_rate,
                patience=settings.patience,
            )
            similarities = [similarity(loss, weight) for loss, weight in losses.items() if loss.needs == IMAGES]
            regularisers = [regulariser(loss, weight) for loss, weight in losses.items() if loss.needs == FIELD]
            self._kept = {key: Continuous(similarities, stage, regularisers, one_size=True)}
        return self._kept[key]

    def _losses(self, given: LossWeights | None) -> dict[Loss, float]:
        """The losses to minimise, with their weights."""
        own = {name: loss for name, loss in self.model.chosen_losses.items() if loss.needs == FIELD}
        if given is None:
            given = {"local_ncc": 1.0, **{name: self.model.loss_weights[name] for name in own}}
        chosen, weights = choose_losses(given, {**LOSSES, **own}, "refine")
        unknown = sorted(name for name, loss in chosen.items() if loss.needs not in (IMAGES, FIELD))
        if unknown:
            known = [*IMAGE_LOSSES, *FIELD_LOSSES]
            raise ValueError(f"A refinement's losses must be of images and fields, {known}. Received: {unknown}")
        return {loss: weights[name] for name, loss in chosen.items() if weights[name]}


def _level(images: Mapping[str, Tensor], padded: Grid, affine: Tensor | None) -> Level:
    """The images on the network's padded grid, the moving one as the affine map places it."""
    fixed, moving = images["fixed"], images["moving"]
    if affine is not None:
        moving = warp(moving, affine_displacement(affine, fixed.shape[1:-1]))
    around = [((p - n) // 2, p - n - (p - n) // 2) for n, p in zip(fixed.shape[1:-1], padded.shape, strict=True)]
    if not np.any(around):
        return Level(padded, fixed, moving, None, None, (1,) * padded.rank)
    width = [(0, 0), *around, (0, 0)]
    known = ops.pad(ops.ones_like(fixed[..., :1]), width)
    return Level(padded, ops.pad(fixed, width), ops.pad(moving, width), known, known, (1,) * padded.rank)


def regulariser(loss: Loss, weight: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A weighted loss of fields as a function of a field, in voxels, and the spacing of its grid.

    A loss that takes a spacing is given it, so that thick slices make a field neither stiffer nor softer. The unit of
    length is the geometric mean of the spacing: on a grid of cubes, the value is that in voxels, and the weight with
    which a model was trained keeps its meaning.
    """
    knows = "spacing" in inspect.signature(loss.function).parameters and "spacing" not in loss.arguments

    def value(field: Tensor, spacing: Tensor) -> Tensor:
        mean = ops.exp(ops.mean(ops.log(spacing)))
        return weight * ops.mean(loss.function(field, **{"spacing": spacing / mean} if knows else {}, **loss.arguments))

    return value
