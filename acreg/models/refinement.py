"""Optimising a predicted field for one pair of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.losses import FIELD_LOSSES, IMAGE_LOSSES, LOSSES, LossWeights, choose_losses
from acreg.losses.loss import FIELD, IMAGES
from acreg.models.registration_model import RegistrationModel


class TrainableField(keras.layers.Layer):
    """Stands in for a network: answers every pair with its weights, a field; `start` is where that began.

    An affine map that follows the field is kept as it is.
    """

    def __init__(self, shape: tuple[int, ...], affine: bool) -> None:
        super().__init__(dtype="float32")
        rank = shape[-1]
        self.affine = self.add_weight(shape=(1, rank, rank + 1), name="affine", trainable=False) if affine else None
        self.field = self.add_weight(shape=shape, name="field")
        self.start = self.add_weight(shape=shape, name="start", trainable=False)
        self.built = True

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        kept = {} if self.affine is None else {"affine": ops.convert_to_tensor(self.affine)}
        return {"field": ops.convert_to_tensor(self.field), **kept}


class Refinement(RegistrationModel):
    """A model whose only weights are the field of one pair, with a loss that holds it near where it started.

    It is kept for the next pair, because TensorFlow takes seconds to compile a training step.
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
        """Forget the pair before."""
        if affine is not None:
            self.network.affine.assign(affine)
        self.network.field.assign(start)
        self.network.start.assign(start)
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        moved = ops.mean(ops.sum(ops.square(self.network.field - self.network.start), axis=-1))
        return super().compute_loss(*args, **kwargs) + self.anchor * moved


def refined(
    model: RegistrationModel,
    batch: Mapping[str, np.ndarray],
    steps: int,
    *,
    losses: LossWeights | None,
    anchor: float,
    learning_rate: float,
    patience: int,
    folding_limit: float,
) -> dict[str, Any]:
    """The result of `RegistrationModel.call` on one pair after optimising the predicted field; see `refine`."""
    own = {name: loss for name, loss in model.chosen_losses.items() if loss.needs == FIELD}
    if losses is None:
        losses = {"local_ncc": 1.0, **{name: model.loss_weights[name] for name in own}}
    chosen, weights = choose_losses(losses, {**LOSSES, **own}, "refine")
    unknown = sorted(name for name, loss in chosen.items() if not {*loss.needs} <= {*IMAGES, *FIELD, "moving"})
    if unknown:
        raise ValueError(
            f"A refinement's losses must be of images and fields, {[*IMAGE_LOSSES, *FIELD_LOSSES]}. Received: {unknown}"
        )
    sizes = batch["fixed"].shape[1:-1]
    found = model._run_network(model._network_inputs(batch, False), sizes, False)
    start = ops.convert_to_numpy(found["field"])
    affine = ops.convert_to_numpy(found["affine"]) if "affine" in found else None
    kept: dict[Any, Refinement] = model.__dict__.setdefault("_refinements", {})  # not a part of the model for Keras
    key = (start.shape, *((loss.function, str(loss.arguments), weights[name]) for name, loss in chosen.items()))
    key += (anchor, learning_rate)
    if key not in kept:
        kept.clear()
        kept[key] = Refinement(
            start.shape,
            affine is not None,
            anchor,
            learning_rate,
            multiple=model.multiple,
            integration_steps=model.integration_steps,
            losses={
                name if name in LOSSES else loss: {"weight": weights[name], **loss.arguments}
                for name, loss in chosen.items()
            },
        )
    refinement = kept[key]
    refinement.begin(np.asarray(start, np.float32), affine)
    best, limit, since = (np.inf, start), np.inf, 0
    for step in range(steps + 1):
        field = ops.convert_to_numpy(refinement.network.field)
        refinement.reset_metrics()
        logs = refinement.train_on_batch(batch, return_dict=True)  # of the field before this step
        if step == 0:
            limit = float(logs["folded_percent"]) + folding_limit
        if float(logs["folded_percent"]) > limit or not np.isfinite(logs["loss"]):
            break
        since += 1
        if float(logs["loss"]) < best[0]:
            best, since = (float(logs["loss"]), field), 0
        if since >= patience:
            break
    refinement.network.field.assign(best[1])
    return refinement(batch)
