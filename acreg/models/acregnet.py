"""AC-RegNet: RegNet constrained by anatomy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from acreg.layers.tensor import Tensor
from acreg.losses import AnatomicalPrior, Loss, LossWeights
from acreg.losses.loss import ONE_HOT
from acreg.models.label_autoencoder import LabelAutoencoder
from acreg.models.regnet import RegNet


@keras.saving.register_keras_serializable("acreg")
class ACRegNet(RegNet):
    """RegNet with local and anatomical losses on warped labels. Labels are needed only in training.

    CE-RegNet and AE-RegNet are this class with one label loss: ``losses={"ncc": 1, "total_variation_sum": 5e-5,
    "cross_entropy": 1}`` or ``{..., "anatomical_prior": 0.1}``.

    Args:
        num_classes: labels including the background.
        autoencoder: a trained `LabelAutoencoder` (or its config) on the training grid, which is frozen here; needed for
            the loss ``"anatomical_prior"``.
        losses: by default, those of the paper: ``{"ncc": 1, "total_variation_sum": 5e-5, "cross_entropy": 1,
            "anatomical_prior": 0.1}``.
        kwargs: the arguments of `RegNet`.

    Raises:
        ValueError: the anatomical prior has no autoencoder, or one for another number of classes.

    Source: Mansilla et al., sections 3.2 to 3.4, eq. 3 to 5.
    """

    DEFAULT_LOSSES: Mapping[str, float] = {
        "ncc": 1.0,
        "total_variation_sum": 5e-5,
        "cross_entropy": 1.0,
        "anatomical_prior": 0.1,
    }

    def __init__(
        self,
        num_classes: int,
        autoencoder: LabelAutoencoder | Mapping[str, Any] | None = None,
        losses: LossWeights | None = None,
        **kwargs: Any,
    ) -> None:
        prior: LabelAutoencoder | None = None
        if isinstance(autoencoder, LabelAutoencoder):
            prior = autoencoder
        elif autoencoder is not None:
            prior = LabelAutoencoder.from_config(dict(autoencoder))
        if prior is not None and prior.num_classes != num_classes:
            raise ValueError(
                "The autoencoder must know the same labels as the model. "
                f"Received: autoencoder.num_classes={prior.num_classes}, num_classes={num_classes}"
            )
        function = _no_prior if prior is None else AnatomicalPrior(prior)
        own = Loss("anatomical_prior", ONE_HOT, function)
        super().__init__(num_classes=num_classes, losses=losses, own_losses=[own], **kwargs)
        if self.loss_weights.get("anatomical_prior") and prior is None:
            raise ValueError(
                "The loss 'anatomical_prior' compares codes and needs a trained `autoencoder`. Received: None"
            )
        self.autoencoder = prior

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.autoencoder is None:
            return {**config, "autoencoder": None}
        nested = self.autoencoder.get_config()
        for name in ("preprocessing", "name", "trainable", "dtype"):
            nested.pop(name, None)
        return {**config, "autoencoder": nested}


def _no_prior(fixed: Tensor, warped: Tensor) -> Tensor:
    """Replaces the anatomical prior in a model without an autoencoder, where its weight is 0."""
    raise NotImplementedError
