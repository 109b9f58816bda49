"""The parts of JRS-Net's losses: the mask that activations give, and what its discriminators see."""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from acreg.layers.tensor import Tensor
from acreg.losses import log_dice
from acreg.models.joint_networks import otsu_threshold

STEEPNESS = 30.0
"""Slope of the sigmoid that replaces Otsu's threshold in training."""


def foreground(labels: Tensor) -> Tensor:
    """1 where integer labels ``(batch, *spatial, 1)`` are not background, float32."""
    return ops.cast(labels > 0, "float32")


def mask_error(fixed_labels: Tensor, activation: Tensor) -> Tensor:
    """Minus the log Dice of the fixed image's foreground and the mask from the activations, ``(batch,)``."""
    both = [ops.concatenate([1.0 - m, m], axis=-1) for m in (foreground(fixed_labels), soft_mask(activation))]
    return log_dice(*both)


def soft_mask(activation: Tensor) -> Tensor:
    """The part above Otsu's threshold, with a gradient: ``(batch, *spatial, 1)`` in [0, 1]."""
    return ops.sigmoid(STEEPNESS * (activation - otsu_threshold(activation)))


def outputs_to_judge(x: Mapping[str, Tensor], role: str, made: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """True and generated image, mask and displacement, ``(batch, *spatial, channels + 1 + rank)`` each.

    Displacements are divided by the length of the longest true one of the sample, as in `displacement_error`.

    Args:
        x: inputs of training, with the labels of both images, ``"displacement"`` (of the fixed image) and
            ``"inverse_displacement"`` (of the moving image).
        role: ``"fixed"`` or ``"moving"``, the image that is generated.
        made: ``"image"``, ``"activation"`` and ``"field"`` of the generator.

    Raises:
        ValueError: labels or a displacement are missing.
    """
    labels, field = f"{role}_labels", "displacement" if role == "fixed" else "inverse_displacement"
    if missing := [name for name in (labels, field) if name not in x]:
        raise ValueError(
            "Discriminators of all outputs need true masks and displacements among the inputs of training. "
            f"Received: judged='outputs' and inputs without {missing}"
        )
    true = ops.cast(x[field], "float32")
    squared = ops.sum(ops.square(true), axis=-1, keepdims=True)
    longest = ops.max(squared, axis=tuple(range(1, len(true.shape))), keepdims=True)
    scale = ops.rsqrt(ops.maximum(longest, 1e-6))
    return (
        ops.concatenate([ops.cast(x[role], "float32"), foreground(x[labels]), true * scale], axis=-1),
        ops.concatenate([made["image"], soft_mask(made["activation"]), made["field"] * scale], axis=-1),
    )


def frozen(judge: keras.Model, images: Tensor) -> Tensor:
    """The logits of a discriminator, with a gradient for the images but not for its weights."""
    weights = [ops.stop_gradient(ops.convert_to_tensor(v)) for v in judge.trainable_variables]
    return judge.stateless_call(weights, [v.value for v in judge.non_trainable_variables], images, training=True)[0]
