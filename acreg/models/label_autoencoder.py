"""The denoising autoencoder of label maps, which gives AC-RegNet its anatomical prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from acreg.inference.forking import check_process
from acreg.io import Preprocessing
from acreg.layers.tensor import Tensor
from acreg.models.blocks import RepeatVoxels, batch_norm, convolution
from acreg.models.label_values import check_labels, unknown_labels
from acreg.models.preset_model import PresetModel

NOISES = ("pair_swap", "border")


@keras.saving.register_keras_serializable("acreg")
class LabelAutoencoder(PresetModel):
    """A convolutional denoising autoencoder of label maps with a short code.

    Three strided levels reduce the grid to an eighth, followed by a dense code without activation, and a decoder. The
    network learns to remove noise at the borders, and thus the manifold of plausible anatomy. It is trained by `fit` on
    label maps alone.

    Args:
        shape: the grid, 2 or 3 sizes divisible by 8.
        num_classes: labels including the background.
        code_size: length of the code.
        noise: the noise on the input in training. ``"pair_swap"`` (as in the authors' code) swaps the voxels ``2k`` and
            ``2k + 1`` of the last axis; ``"border"`` (as described in the paper) gives a voxel the label of its left
            neighbour where the two differ.
        noise_probability: probability of each such change.
        seed: seed of the noise.

    Call arguments:
        inputs: labels ``(batch, *shape, 1)`` of an integer type, or one-hot ``(batch, *shape, num_classes)``.

    Returns:
        Logits ``(batch, *shape, num_classes)``.

    Raises:
        ValueError: when a size is not divisible by 8, or an option is unknown.

    Source: Mansilla et al., section 3.3 and Appendix A.
    """

    def __init__(
        self,
        shape: Sequence[int] = (64, 64),
        num_classes: int = 4,
        code_size: int = 32,
        noise: str = "pair_swap",
        noise_probability: float = 0.1,
        seed: int = 0,
        preprocessing: Any = None,
        **kwargs: Any,
    ) -> None:
        shape = tuple(int(n) for n in shape)
        if len(shape) not in (2, 3) or any(n < 8 or n % 8 for n in shape):
            raise ValueError(f"`shape` must be 2 or 3 sizes divisible by 8. Received: shape={shape}")
        if num_classes < 2:
            raise ValueError(f"`num_classes` counts the background and must be at least 2. Received: {num_classes}")
        if noise not in NOISES:
            raise ValueError(f"`noise` must be one of {NOISES}. Received: noise={noise!r}")
        check_process()
        super().__init__(**kwargs)
        self.shape = shape
        self.num_classes = num_classes
        self.code_size = code_size
        self.noise = noise
        self.noise_probability = noise_probability
        self.seed = seed
        self.preprocessing = Preprocessing(**preprocessing) if isinstance(preprocessing, Mapping) else preprocessing
        self.seed_generator = keras.random.SeedGenerator(seed)
        dtype = kwargs.get("dtype")
        self.encoder = self._make_encoder(dtype)
        self.decoder = self._make_decoder(dtype)
        self.dice = keras.metrics.Mean(name="dice")
        self.built = True

    def _conv(self, x: keras.KerasTensor, n: int, name: str, dtype: Any, strides: int = 1) -> keras.KerasTensor:
        x = convolution(len(self.shape), n, strides=strides, use_bias=False, name=name, dtype=dtype)(x)
        return layers.ReLU(name=f"{name}_relu", dtype=dtype)(batch_norm(f"{name}_bn", dtype)(x))

    def _make_encoder(self, dtype: Any) -> keras.Model:
        x = one_hot = keras.Input((*self.shape, self.num_classes), name="one_hot")
        plan = [(16, 2), (16, 1), (32, 2), (32, 1), (1, 2)]
        for i, (n, strides) in enumerate(plan, start=1):
            x = self._conv(x, n, f"encoder{i}", dtype, strides)
        x = layers.Dense(self.code_size, name="code", dtype=dtype)(layers.Flatten(name="flatten", dtype=dtype)(x))
        x = layers.Activation("linear", dtype="float32", name="code_float32")(x)
        return keras.Model(one_hot, x, name="encoder")

    def _make_decoder(self, dtype: Any) -> keras.Model:
        small = tuple(n // 8 for n in self.shape)
        code = keras.Input((self.code_size,), name="code")
        x = layers.Dense(prod(small), activation="relu", name="decoder_dense", dtype=dtype)(code)
        x = layers.Reshape((*small, 1), name="decoder_grid", dtype=dtype)(x)
        for level, filters in enumerate([(32, 32), (16, 16), (16,)], start=1):
            x = RepeatVoxels(name=f"decoder{level}_upsample", dtype=dtype)(x)
            for i, n in enumerate(filters, start=1):
                x = self._conv(x, n, f"decoder{level}_{i}", dtype)
        x = convolution(len(self.shape), self.num_classes, name="logits", dtype=dtype)(x)
        return keras.Model(code, layers.Activation("linear", dtype="float32", name="logits_float32")(x), name="decoder")

    def one_hot(self, labels: Tensor) -> Tensor:
        """Integer labels ``(batch, *shape, 1)`` as float32 one-hot; class probabilities are returned unchanged.

        Raises:
            ValueError: the input is neither of these.
            AcregError: an array has a label that is not a class.
        """
        kind = keras.backend.standardize_dtype(labels.dtype)
        if labels.shape[-1] != (1 if "int" in kind else self.num_classes):
            raise ValueError(
                f"Labels are integers (batch, *shape, 1) or probabilities (batch, *shape, {self.num_classes}). "
                f"Received: {kind} of shape {tuple(labels.shape)}"
            )
        if "int" not in kind:
            return labels
        if isinstance(labels, np.ndarray):
            check_labels({"labels": labels}, self.num_classes)
        return ops.one_hot(ops.squeeze(labels, -1), self.num_classes, dtype="float32")

    def encode(self, labels: Tensor) -> Tensor:
        """The codes ``(batch, code_size)`` of labels or probabilities, in inference mode."""
        return self.encoder(self.one_hot(labels), training=False)

    def add_noise(self, one_hot: Tensor) -> Tensor:
        """Adds noise to one-hot labels as in training; see ``noise``."""
        batch, width = ops.shape(one_hot)[0], self.shape[-1]
        draw = keras.random.uniform((batch, *self.shape[:-1], width, 1), seed=self.seed_generator)
        if self.noise == "border":
            left = ops.concatenate([one_hot[..., :1, :], one_hot[..., :-1, :]], axis=-2)
            return ops.where(draw < self.noise_probability, left, one_hot)
        pairs = (batch, *self.shape[:-1], width // 2, 2, self.num_classes)
        swapped = ops.reshape(ops.flip(ops.reshape(one_hot, pairs), axis=-2), ops.shape(one_hot))
        draw = ops.repeat(draw[..., ::2, :], 2, axis=-2)
        return ops.where(draw < self.noise_probability, swapped, one_hot)

    def _inputs(self) -> Any:
        return self.encoder.input

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        one_hot = self.one_hot(inputs)
        if training:
            one_hot = self.add_noise(one_hot)
        return self.decoder(self.encoder(one_hot, training=training), training=training)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Softmax cross-entropy between the reconstruction and the labels without noise; mean over voxels."""
        clean = self.one_hot(x)
        update_dice(self.dice, hard_dice(ops.argmax(clean, -1), ops.argmax(y_pred, -1), self.num_classes))
        loss = ops.mean(keras.losses.categorical_crossentropy(clean, y_pred, from_logits=True))
        loss = loss + unknown_labels(x, self.num_classes) if x is not clean else loss
        return loss + self.added_losses(x, y, y_pred, sample_weight, training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shape": self.shape,
            "num_classes": self.num_classes,
            "code_size": self.code_size,
            "noise": self.noise,
            "noise_probability": self.noise_probability,
            "seed": self.seed,
            "preprocessing": None if self.preprocessing is None else self.preprocessing.model_dump(mode="json"),
        }


def hard_dice(fixed: Tensor, warped: Tensor, num_classes: int) -> Tensor:
    """Mean Dice of two integer maps ``(batch, *spatial)`` over all classes except the background, ``(batch,)``.

    A class that is in only one map counts as 0, a class in neither map does not count; NaN if neither map has any
    class.
    """
    axes = tuple(range(1, len(fixed.shape)))
    total, there = 0.0, 0.0
    for label in range(1, num_classes):
        a, b = ops.cast(fixed == label, "float32"), ops.cast(warped == label, "float32")
        both, size = 2.0 * ops.sum(a * b, axis=axes), ops.sum(a, axis=axes) + ops.sum(b, axis=axes)
        total = total + both / ops.maximum(size, 1.0)
        there = there + ops.cast(size > 0, "float32")
    return ops.where(there > 0, total / ops.maximum(there, 1.0), float("nan"))


def update_dice(mean: keras.metrics.Mean, dice: Tensor) -> None:
    """Counts the samples of `hard_dice` that have a value."""
    known = ops.logical_not(ops.isnan(dice))
    mean.update_state(ops.where(known, dice, 0.0), sample_weight=ops.cast(known, "float32"))
