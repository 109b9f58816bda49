"""Images and labels that travel to a model in whole numbers of 8 or 16 bits, as the model computes with them."""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from acreg.layers.tensor import Tensor

LARGEST = {"uint8": 255, "uint16": 65535}
"""The whole number that stands for 1 in an image, by type."""
IMAGES = ("image", "moving", "fixed")


def floats(image: Tensor) -> Tensor:
    """An image as float32; whole numbers of 8 or 16 bits become k / 255 or k / 65535, to the last bit as in NumPy."""
    image = ops.convert_to_tensor(image)
    most = LARGEST.get(keras.backend.standardize_dtype(image.dtype))
    image = ops.cast(image, "float32")
    if most is None:
        return image
    # Compilers replace a division by a product with the rounded reciprocal, which differs in the last bit. This does
    # not (tested for all numbers): k / most = (k + k / most) / (most + 1), where most + 1 is a power of two.
    return (image + image * (1 / most)) * (1 / (most + 1))


def decoded(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The inputs of a model, images as `floats` and labels as int32; the same object if no image has whole numbers."""
    if not any(_small(inputs[name]) for name in IMAGES if name in inputs):
        return inputs
    labels = {name: ops.cast(x, "int32") for name, x in inputs.items() if name.endswith("labels") and _small(x)}
    return {**inputs, **labels, **{name: floats(inputs[name]) for name in IMAGES if name in inputs}}


def _small(x: Tensor) -> bool:
    return keras.backend.standardize_dtype(x.dtype) in LARGEST
