"""A U-Net that segments single images, so that anatomy is known where no labels are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from acreg.errors import AcregError
from acreg.geometry import Image
from acreg.geometry.resize import sample_image
from acreg.inference.forking import check_process
from acreg.inference.registering import padded_sizes
from acreg.io import Preprocessing
from acreg.io.inputs import ImageLike, as_image
from acreg.layers.tensor import Tensor
from acreg.losses import soft_dice
from acreg.models.blocks import RepeatVoxels, check_rank, convolution, max_pool, normalisation
from acreg.models.fine_tuning import transfer_weights
from acreg.models.label_autoencoder import hard_dice, update_dice
from acreg.models.label_values import unknown_labels
from acreg.models.network_parts import freeze_parts
from acreg.models.preset_model import PresetModel

SLOPE = 0.01


@keras.saving.register_keras_serializable("acreg")
class Segmenter(PresetModel):
    """Gives each voxel of an image the probabilities of the labels, by a U-Net.

    Its label maps can guide a registration where none are given: see ``features`` in `docs/how-to/register.md`.

    Args:
        rank: 2 or 3.
        channels: channels of an image.
        num_classes: labels including the background.
        filters: filters of each level, finest first; each level except the first halves the grid.
        dropout: rate after the coarsest level, in training.
        preprocessing: an `acreg.io.Preprocessing` or its fields, needed by `segment` and `save_preset`.
        registration: options of a registration by its label maps, such as ``{"labels": 10}``, which hold unless others
            are given: see `acreg.registration.optimised.Optimised`.

    Call arguments:
        inputs: images ``(batch, *spatial, channels)`` in about [0, 1], with sizes that are multiples of
            ``2 ** (len(filters) - 1)``; or a dictionary with ``"image"`` and, in training, ``"labels"``, integers
            ``(batch, *spatial, 1)``. `fit` also takes the images and, as ``y``, their labels.

    Returns:
        Logits ``(batch, *spatial, num_classes)``, float32.

    Raises:
        ValueError: an argument out of range.

    Source: Ronneberger et al., U-Net, MICCAI 2015; trained by cross-entropy and soft Dice as by Isensee et al.,
    nnU-Net, Nature Methods 2021.
    """

    loss_weighting = None

    def __init__(
        self,
        rank: int = 2,
        channels: int = 1,
        num_classes: int = 2,
        filters: Sequence[int] = (16, 32, 64, 128),
        dropout: float = 0.2,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        registration: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        check_rank(rank)
        if num_classes < 2:
            raise ValueError(f"`num_classes` counts the background and must be at least 2. Received: {num_classes}")
        if not filters or min(filters) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                "`filters` must be one or more positive numbers, and `dropout` from 0 to less than 1. Received: "
                f"filters={tuple(filters)}, dropout={dropout}"
            )
        check_process()
        super().__init__(autocast=False, **kwargs)
        self.rank, self.channels, self.num_classes = rank, channels, num_classes
        self.filters, self.dropout = tuple(filters), dropout
        self.multiple = 2 ** (len(filters) - 1)
        self.preprocessing = Preprocessing(**preprocessing) if isinstance(preprocessing, Mapping) else preprocessing
        self.registration = dict(registration or {})
        self.network = _unet(rank, channels, num_classes, self.filters, dropout, kwargs.get("dtype"))
        self.dice = keras.metrics.Mean(name="dice")
        self.built = True

    def call(self, inputs: Tensor | Mapping[str, Tensor], training: bool = False) -> Tensor:
        image = inputs["image"] if isinstance(inputs, Mapping) else inputs
        return self.network(image, training=training)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Cross-entropy, mean over voxels, plus one minus the mean soft Dice of the labels."""
        x = x if isinstance(x, Mapping) else {"image": x, "labels": y}
        labels = ops.one_hot(ops.squeeze(x["labels"], -1), self.num_classes, dtype="float32")
        update_dice(self.dice, hard_dice(ops.argmax(labels, -1), ops.argmax(y_pred, -1), self.num_classes))
        entropy = ops.mean(keras.losses.categorical_crossentropy(labels, y_pred, from_logits=True))
        overlap = ops.mean(soft_dice(labels, ops.softmax(y_pred, axis=-1)))
        own = entropy + overlap + unknown_labels(x["labels"], self.num_classes)
        return own + self.added_losses(x, y, y_pred, sample_weight, training)

    def freeze(self, *parts: str) -> None:
        """As `RegistrationModel.freeze`."""
        freeze_parts(self.network, parts)

    def transfer_from(self, source: str | os.PathLike[str]) -> None:
        """As `RegistrationModel.transfer_from`."""
        transfer_weights(self, source)

    def probabilities(self, image: ImageLike, flips: bool = False) -> NDArray[np.float32]:
        """The probability of each label at each voxel.

        Args:
            image: a path, an `acreg.Image`, an array or an image of SimpleITK or nibabel.
            flips: the mean over the image and its mirror images along any of its axes. It takes 4 times as long in
                2-D and 8 times in 3-D, and needs labels that are the same on both sides.

        Returns:
            ``(num_classes, *shape)`` on the image's grid, in the order of ``preprocessing.label_values``. Outside of
            the network's grid, the background has probability 1.

        Raises:
            AcregError: the model has no ``preprocessing``, or the image cannot be read or has another rank.
        """
        given = as_image(image, "image")
        if self.preprocessing is None:
            raise AcregError(
                "A segmenter must know how images become its input. Received: a model whose `preprocessing` is None. "
                "Set `model.preprocessing = acreg.io.Preprocessing(shape=...)` first."
            )
        grid = self.preprocessing.grid(given)
        values = self.preprocessing.apply(given, grid)
        turns = [axes for n in range(self.rank + 1) for axes in combinations(range(self.rank), n)] if flips else [()]
        found = np.mean([np.flip(self._predicted(np.flip(values, axes)), axes) for axes in turns], axis=0)
        places = [float(number == 0) for number in range(self.num_classes)]
        return np.stack([sample_image(found[..., n], grid, given.grid, fill) for n, fill in enumerate(places)])

    def segment(self, image: ImageLike, flips: bool = False) -> Image:
        """The most probable label of each voxel; arguments and errors as of `probabilities`.

        Returns:
            A label map on the image's grid, with the values ``preprocessing.label_values``.
        """
        given = as_image(image, "image")
        return self.label_map(self.probabilities(given, flips), given)

    def label_map(self, probabilities: NDArray[np.float32], image: Image) -> Image:
        """The label map of `probabilities` of an image."""
        assert self.preprocessing is not None  # checked by `probabilities`
        values = np.asarray(self.preprocessing.label_values, np.int32)
        return Image(values[probabilities.argmax(axis=0)], image.grid, kind="labels")

    def _predicted(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities ``(*shape, num_classes)`` of an input ``(*shape, channels)``."""
        shape = values.shape[:-1]
        more = [(0, size - n) for n, size in zip(shape, padded_sizes(shape, self.multiple), strict=True)]
        logits = self.predict_on_batch(np.pad(values, [*more, (0, 0)], mode="edge")[None])
        found = np.asarray(ops.convert_to_numpy(ops.softmax(logits, axis=-1)))[0]
        return found[tuple(slice(n) for n in shape)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "channels": self.channels,
            "num_classes": self.num_classes,
            "filters": self.filters,
            "dropout": self.dropout,
            **({"registration": self.registration} if self.registration else {}),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.model_dump(mode="json"),
        }


def _unet(
    rank: int, channels: int, num_classes: int, filters: Sequence[int], dropout: float, dtype: Any
) -> keras.Model:
    """Two convolutions with normalisation a level, max-pooling, and skips that are concatenated."""

    def block(x: keras.KerasTensor, n: int, name: str) -> keras.KerasTensor:
        for part in "ab":
            x = convolution(rank, n, use_bias=False, name=f"{name}_{part}", dtype=dtype)(x)
            x = normalisation("batch", n, f"{name}_{part}_norm", dtype)(x)
            x = layers.LeakyReLU(SLOPE, name=f"{name}_{part}_relu", dtype=dtype)(x)
        return x

    x = image = keras.Input((None,) * rank + (channels,), name="image")
    skips = []
    for level, n in enumerate(filters, start=1):
        x = block(x, n, f"encoder{level}")
        if level < len(filters):
            skips.append(x)
            x = max_pool(rank, name=f"encoder{level}_pool", dtype=dtype)(x)
    x = layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    for level in range(len(filters) - 1, 0, -1):
        x = convolution(rank, filters[level - 1], 1, name=f"decoder{level}_reduce", dtype=dtype)(x)
        x = RepeatVoxels(name=f"decoder{level}_upsample", dtype=dtype)(x)
        x = layers.Concatenate(name=f"decoder{level}_skip", dtype=dtype)([x, skips[level - 1]])
        x = block(x, filters[level - 1], f"decoder{level}")
    x = convolution(rank, num_classes, 1, name="head_logits", dtype=dtype)(x)
    x = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(image, x, name="segmenter")
