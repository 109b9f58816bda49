"""Dissimilarity of two images in the features of a network that was trained on photographs."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import keras
from keras import ops

from acreg.errors import AcregError
from acreg.layers.tensor import Tensor

CACHED = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
"""The name under which Keras stores the downloaded weights."""
SMALLEST_SIDE = 32
SMALLEST_RANGE = 1e-3


class PerceptualLoss:
    """Mean squared difference of the feature maps of all 13 convolutions of VGG16, ``(batch,)``, in [0, 1].

    Each map of each image is scaled to [0, 1] by its own smallest and largest value; a map that varies by less than
    0.001 is treated as constant and not amplified. The squared differences are averaged over the maps and positions of
    each layer, then over the layers, so that coarse and fine layers have the same weight. The network is frozen,
    computes in float32 under every precision policy, and is never downloaded or left with random weights.

    Args:
        weights: HDF5 file of the weights of ``keras.applications.VGG16(include_top=False)``, as published or saved by
            Keras. None uses the file that Keras keeps after a download, in ``models`` in the folder ``~/.keras`` or the
            folder that ``KERAS_HOME`` names.

    Call arguments:
        fixed, warped: ``(batch, rows, columns, channels)`` in [0, 1], grey (one channel) or red, green and blue, each
            side at least 32 voxels.

    Raises:
        AcregError: the file is missing or does not hold these weights, or, in a call, the images have another form.

    Source: Mahapatra et al., Joint registration and segmentation of X-ray images using generative adversarial networks,
    eq. 2; the network is that of Simonyan & Zisserman, ICLR 2015. The paper counts 3968 maps, the network has 4224.
    """

    def __init__(self, weights: str | os.PathLike[str] | None = None) -> None:
        vgg = keras.models.clone_model(
            keras.applications.VGG16(weights=None, include_top=False), clone_function=_in_float32
        )
        _load(vgg, Path(weights) if weights is not None else keras_cache())
        convolutions = [layer for layer in vgg.layers if isinstance(layer, keras.layers.Conv2D)]
        self.network = keras.Model(vgg.input, [layer.output for layer in convolutions])
        self.network.trainable = False

    def __call__(self, fixed: Tensor, warped: Tensor) -> Tensor:
        pairs = zip(self._maps(fixed), self._maps(warped), strict=True)
        layers = [ops.mean(ops.square(_scaled(a) - _scaled(b)), axis=(1, 2, 3)) for a, b in pairs]
        return ops.mean(ops.stack(layers), axis=0)

    def _maps(self, images: Tensor) -> list[Tensor]:
        """The maps ``(batch, rows, columns, maps)`` of each convolution."""
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[-1] not in (1, 3) or any(n is not None and n < SMALLEST_SIDE for n in shape[1:3]):
            raise AcregError(
                f"VGG16 sees images (batch, rows, columns, 1 or 3) of at least {SMALLEST_SIDE} voxels a side. "
                f"Received: shape {shape}. Use another image loss, such as ssim, for others."
            )
        colours = ops.repeat(images, 3 // shape[-1], axis=-1)
        prepared = keras.applications.vgg16.preprocess_input(255.0 * ops.cast(colours, "float32"))
        return self.network(prepared, training=False)


def _scaled(maps: Tensor) -> Tensor:
    lowest = ops.min(maps, axis=(1, 2), keepdims=True)
    spread = ops.max(maps, axis=(1, 2), keepdims=True) - lowest
    return (maps - lowest) / ops.maximum(spread, SMALLEST_RANGE)


def _in_float32(layer: keras.layers.Layer) -> keras.layers.Layer:
    return type(layer).from_config({**layer.get_config(), "dtype": "float32"})


def keras_cache() -> Path:
    """The file in which Keras keeps the downloaded weights of VGG16."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models" / CACHED


def _load(vgg: keras.Model, path: Path) -> None:
    """Reads the weights; Keras checks the shapes but ignores other contents of the file."""
    advice = (
        f"Give the file of weights of keras.applications.VGG16(include_top=False), which Keras publishes as {CACHED}; "
        "acreg downloads nothing."
    )
    if not path.is_file():
        raise AcregError(
            f"The perceptual loss needs the weights of VGG16. Received: {path}, which is no file. {advice}"
        )
    held: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            file.visititems(lambda name, item: held.append(name) if isinstance(item, h5py.Dataset) else None)
        if len(held) != len(vgg.weights):
            raise ValueError(f"{len(held)} arrays instead of {len(vgg.weights)}")
        vgg.load_weights(path)
    except Exception as error:  # h5py and Keras raise many types of error for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise AcregError(
            f"The perceptual loss needs the weights of VGG16's 13 convolutions and no others. Received: {path} "
            f"({reason}). {advice}"
        ) from error
