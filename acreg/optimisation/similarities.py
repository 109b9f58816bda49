"""How alike two images are, for an optimisation: losses by name, on the images or on features of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import ops

from acreg.layers.tensor import Tensor
from acreg.losses import (
    IMAGE_LOSSES,
    Loss,
    LossWeights,
    choose_losses,
    local_ncc,
    mind_ssc,
    mind_ssc_difference,
)
from acreg.losses.loss import IMAGES

Features = Callable[[Tensor], Tensor]
"""Takes images ``(1, *spatial, channels)`` to features on the same grid, ``(1, *spatial, features)``."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """A weighted loss on two images, or on features of both, which are computed once and then warped.

    Args:
        name: for records.
        weight: in the sum of all.
        compare: ``(fixed, warped, weights, window) -> scalar``; weights are ``(1, *spatial, 1)`` or None, the window is
            voxels per axis.
        features: of each image before it is warped; None for its grey values.
    """

    name: str
    weight: float
    compare: Callable[[Tensor, Tensor, Tensor | None, Sequence[int]], Tensor]
    features: Features | None = None


def similarities(chosen: str | LossWeights | Sequence[Similarity]) -> list[Similarity]:
    """Similarities by name: a name, names with their weights as in a recipe, or similarities, which are returned.

    Names are those of the losses on images (`acreg.losses`). ``mind_ssc`` compares MIND-SSC features, which are warped,
    and with ``local_ncc`` the window is that of the stage unless it is given.

    Raises:
        ValueError: as `acreg.losses.choose_losses`, or a loss that compares more than two images.
    """
    if isinstance(chosen, str):
        chosen = {chosen: 1.0}
    if not isinstance(chosen, Mapping):
        return list(chosen)
    losses, weights = choose_losses(chosen, IMAGE_LOSSES, "a registration")
    return [similarity(loss, weights[name]) for name, loss in losses.items()]


def similarity(loss: Loss, weight: float) -> Similarity:
    """The similarity for a loss; ValueError for a loss that compares anything but two images."""
    if loss.needs != IMAGES:
        raise ValueError(
            f"A similarity compares {' and '.join(IMAGES)}. Received: the loss {loss.name!r} of {', '.join(loss.needs)}"
        )
    if loss.function is mind_ssc_difference:
        return Similarity(loss.name, weight, _squares, partial(mind_ssc, **loss.arguments))
    if loss.function is local_ncc:
        return Similarity(loss.name, weight, partial(_local_ncc, arguments=dict(loss.arguments)))
    return Similarity(loss.name, weight, partial(_any, loss=loss))


def model_features(model: keras.Model, weight: float = 1.0, name: str = "") -> Similarity:
    """Squared differences of what a Keras model makes of each image, resized to the image's grid.

    Args:
        model: takes ``(1, *spatial, channels)`` of any size to ``(1, *other, features)``: a segmenter's probabilities
            or an encoder's maps.
        weight, name: of the similarity; by default the model's name.
    """
    from acreg.layers.functional import resize, spatial_shape

    def features(image: Tensor) -> Tensor:
        return resize(ops.cast(model(image, training=False), "float32"), spatial_shape(image))

    return Similarity(name or model.name, weight, _squares, features)


def _squares(fixed: Tensor, warped: Tensor, weights: Tensor | None, window: Sequence[int]) -> Tensor:
    squares = ops.mean(ops.square(fixed - warped), axis=-1, keepdims=True)
    if weights is None:
        return ops.mean(squares)
    known = ops.where(weights > 0, squares, 0.0)
    return ops.sum(known * weights) / ops.maximum(ops.sum(weights), 1e-6)


def _local_ncc(
    fixed: Tensor, warped: Tensor, weights: Tensor | None, window: Sequence[int], arguments: Mapping[str, Any]
) -> Tensor:
    return local_ncc(fixed, warped, **{"window": tuple(window), **arguments}, weights=weights)[0]


def _any(fixed: Tensor, warped: Tensor, weights: Tensor | None, window: Sequence[int], loss: Any) -> Tensor:
    """A loss that knows no weights sees two equal values where nothing counts."""
    if weights is not None:
        fixed, warped = (ops.where(weights > 0, x, 0.0) for x in (fixed, warped))
    return ops.mean(loss(fixed, warped))
