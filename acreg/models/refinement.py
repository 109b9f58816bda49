"""Optimisation of a predicted field for one pair of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.layers.tensor import Tensor
from acreg.losses import FIELD_LOSSES, IMAGE_LOSSES, LOSSES, Loss, LossWeights, choose_losses
from acreg.losses.loss import FIELD, IMAGES
from acreg.models.field_model import FieldModel


class TrainableField(keras.layers.Layer):
    """Replaces a network: for every pair, it returns its weights, a field; `start` is the initial field.

    An affine map that follows the field stays unchanged.
    """

    def __init__(self, shape: tuple[int, ...], affine: bool) -> None:
        super().__init__(dtype="float32")
        rank = shape[-1]
        self.affine = self.add_weight(shape=(1, rank, rank + 1), name="affine", trainable=False) if affine else None
        self.field = self.add_weight(shape=shape, name="field")
        self.start = self.add_weight(shape=shape, name="start", trainable=False)
        self.built = True

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        kept = {} if self.affine is None else {"affine": ops.convert_to_tensor(self.affine)}
        return {"field": ops.convert_to_tensor(self.field), **kept}


class Refinement(FieldModel):
    """A model whose only weights are the field of one pair, with a loss that keeps it close to the initial field.

    The model is kept for the next pair, because TensorFlow takes seconds to compile a training step.
    """

    def __init__(
        self, shape: tuple[int, ...], affine: bool, anchor: float, learning_rate: float, **kwargs: Any
    ) -> None:
        super().__init__(TrainableField(shape, affine), **kwargs)
        self.anchor = anchor
        self.compile(optimizer=keras.optimizers.Adam(learning_rate))
        self.optimizer.build(self.trainable_variables)
        self._fresh = [ops.convert_to_numpy(variable) for variable in self.optimizer.variables]

    def begin(self, start: np.ndarray, affine: np.ndarray | None) -> None:
        """Begin with a new pair."""
        if affine is not None:
            self.network.affine.assign(affine)
        self.network.field.assign(start)
        self.network.start.assign(start)
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        moved = ops.mean(ops.sum(ops.square(self.network.field - self.network.start), axis=-1))
        return super().compute_loss(*args, **kwargs) + self.anchor * moved


@dataclass(frozen=True)
class RefinementSettings:
    """See `RegistrationModel.refine`."""

    steps: int
    losses: LossWeights | None
    anchor: float
    learning_rate: float
    patience: int
    folding_limit: float


class Refining:
    """Refines pairs that a model registered; the optimisation is kept for the next pair of the same size."""

    def __init__(self, model: FieldModel) -> None:
        self.model = model
        self._kept: dict[Any, Refinement] = {}

    def refined(self, batch: Mapping[str, np.ndarray], settings: RefinementSettings) -> dict[str, Tensor]:
        """The model's result for one pair, after optimising the field that it predicts."""
        sizes = batch["fixed"].shape[1:-1]
        losses = self._losses(settings.losses)
        found = self.model._run_network(self.model._network_inputs(batch, False), sizes, False)
        start = ops.convert_to_numpy(found["field"])
        affine = ops.convert_to_numpy(found["affine"]) if "affine" in found else None
        refinement = self._refinement(start.shape, affine is not None, losses, settings)
        refinement.begin(np.asarray(start, np.float32), affine)
        best, limit, since = (np.inf, start), np.inf, 0
        for step in range(settings.steps + 1):
            field = ops.convert_to_numpy(refinement.network.field)
            refinement.reset_metrics()
            logs = refinement.train_on_batch(batch, return_dict=True)  # the loss of the field before this step
            if step == 0:
                limit = float(logs["folded_percent"]) + settings.folding_limit
            if float(logs["folded_percent"]) > limit or not np.isfinite(logs["loss"]):
                break
            since += 1
            if float(logs["loss"]) < best[0]:
                best, since = (float(logs["loss"]), field), 0
            if since >= settings.patience:
                break
        refinement.network.field.assign(best[1])
        return refinement(batch)

    def _losses(self, given: LossWeights | None) -> dict[Loss, float]:
        """The losses to minimise, with their weights."""
        own = {name: loss for name, loss in self.model.chosen_losses.items() if loss.needs == FIELD}
        if given is None:
            given = {"local_ncc": 1.0, **{name: self.model.loss_weights[name] for name in own}}
        chosen, weights = choose_losses(given, {**LOSSES, **own}, "refine")
        unknown = sorted(name for name, loss in chosen.items() if not {*loss.needs} <= {*IMAGES, *FIELD, "moving"})
        if unknown:
            known = [*IMAGE_LOSSES, *FIELD_LOSSES]
            raise ValueError(f"A refinement's losses must be of images and fields, {known}. Received: {unknown}")
        return {loss: weights[name] for name, loss in chosen.items()}

    def _refinement(
        self, shape: tuple[int, ...], affine: bool, losses: Mapping[Loss, float], settings: RefinementSettings
    ) -> Refinement:
        key = (
            *((loss.name, loss.function, str(loss.arguments), weight) for loss, weight in losses.items()),
            *(shape, settings.anchor, settings.learning_rate),
        )
        if key not in self._kept:
            self._kept = {
                key: Refinement(
                    shape,
                    affine,
                    settings.anchor,
                    settings.learning_rate,
                    multiple=self.model.multiple,
                    integration_steps=self.model.integration_steps,
                    losses={
                        loss.name if loss.name in LOSSES else loss: {"weight": weight, **loss.arguments}
                        for loss, weight in losses.items()
                    },
                )
            }
        return self._kept[key]
