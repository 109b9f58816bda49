"""The anatomical prior: distance between codes of an autoencoder of anatomy."""

from __future__ import annotations

from typing import Any

from keras import ops

from acreg.layers.tensor import Tensor


class AnatomicalPrior:
    """Squared Euclidean distance between the codes of two label maps, ``(batch,)``.

    ``||enc(warped) - enc(fixed)||^2``, with the encoder in inference mode. The loss freezes the autoencoder: gradients
    pass through it to the warped labels and never change it.

    Args:
        autoencoder: a trained `acreg.models.LabelAutoencoder`, or anything with ``encode(one_hot) -> (batch, code)``.

    Call arguments:
        fixed, warped: one-hot or probabilities, ``(batch, *spatial, classes)`` on the autoencoder's own grid.

    Source: Mansilla et al., eq. 4.
    """

    def __init__(self, autoencoder: Any) -> None:
        autoencoder.trainable = False
        self.autoencoder = autoencoder

    def __call__(self, fixed: Tensor, warped: Tensor) -> Tensor:
        difference = self.autoencoder.encode(warped) - self.autoencoder.encode(fixed)
        return ops.sum(ops.square(ops.cast(difference, "float32")), axis=-1)
