"""Optimising a predicted field for one pair of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.losses import FIELD_LOSSES, IMAGE_LOSSES
from acreg.models.registration_model import RegistrationModel


class TrainableField(keras.layers.Layer):
    """Stands in for a network: answers every pair with its weights, a field."""

    def __init__(self, start: np.ndarray) -> None:
        super().__init__(dtype="float32")
        self.field = self.add_weight(shape=start.shape, name="field")
        self.field.assign(start)
        self.built = True

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        return {"field": ops.convert_to_tensor(self.field)}


class Refinement(RegistrationModel):
    """A model whose only weights are the field of one pair, with a loss that holds it near where it started."""

    def __init__(self, start: np.ndarray, anchor: float, **kwargs: Any) -> None:
        super().__init__(TrainableField(start), **kwargs)  # type: ignore[arg-type]
        self.start = ops.convert_to_tensor(start)
        self.anchor = anchor

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        moved = ops.mean(ops.sum(ops.square(self.network.field - self.start), axis=-1))
        return super().compute_loss(*args, **kwargs) + self.anchor * moved


def refined(
    model: RegistrationModel,
    batch: Mapping[str, np.ndarray],
    steps: int,
    *,
    losses: Mapping[str, float] | None,
    anchor: float,
    learning_rate: float,
    patience: int,
    folding_limit: float,
) -> dict[str, Any]:
    """The result of `RegistrationModel.call` on one pair after optimising the predicted field; see `refine`."""
    if losses is None:
        own = {name: weight for name, weight in model.loss_weights.items() if name in FIELD_LOSSES}
        losses = {"local_ncc": 1.0, **own}
    unknown = sorted(set(losses) - {*IMAGE_LOSSES, *FIELD_LOSSES})
    if unknown:
        raise ValueError(
            f"A refinement's losses must be of images and fields, {[*IMAGE_LOSSES, *FIELD_LOSSES]}. Received: {unknown}"
        )
    sizes = batch["fixed"].shape[1:-1]
    start = ops.convert_to_numpy(model._run_network(batch["moving"], batch["fixed"], sizes, False)["field"])
    refinement = Refinement(
        np.asarray(start, np.float32),
        anchor,
        multiple=model.multiple,
        integration_steps=model.integration_steps,
        losses=losses,
    )
    refinement.compile(optimizer=keras.optimizers.Adam(learning_rate))
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
