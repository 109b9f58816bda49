"""The networks of JRS-Net: a generator whose activations give a mask, and a discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from acreg.layers import functional
from acreg.layers.tensor import Tensor
from acreg.models.blocks import batch_norm, convolution

BINS = 64
"""Number of bins of the histogram for Otsu's threshold."""


@keras.saving.register_keras_serializable("acreg")
class NormalisedSum(keras.layers.Layer):
    """The mean of many feature maps, each scaled to [0, 1] within its image; the mean is again scaled to [0, 1].

    A constant map contributes nothing.

    Call arguments:
        features: tensors ``(batch, *spatial, maps)`` of one grid.
        coarser: for each coarser grid, tensors ``(batch, *coarse, maps)``, whose scaled maps are resized linearly to
            the grid of ``features``.

    Returns:
        ``(batch, *spatial, 1)``, float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, features: Sequence[Tensor], coarser: Sequence[Sequence[Tensor]] = ()) -> Tensor:
        sizes = functional.spatial_shape(features[0])
        # a sum is resized, not its terms: resizing is linear
        return _scaled(_sum(features) + sum(functional.resize(_sum(maps), sizes) for maps in coarser))

    def compute_output_shape(
        self, features_shape: Sequence[Sequence[int | None]], coarser_shape: Any = None
    ) -> tuple[int | None, ...]:
        return (*features_shape[0][:-1], 1)


def _sum(features: Sequence[Tensor]) -> Tensor:
    """The sum of all scaled maps of one grid, ``(batch, *spatial, 1)`` float32."""
    return sum(ops.sum(_scaled(ops.cast(x, "float32")), axis=-1, keepdims=True) for x in features)


def _scaled(x: Tensor) -> Tensor:
    axes = tuple(range(1, len(x.shape) - 1))
    low, high = ops.min(x, axis=axes, keepdims=True), ops.max(x, axis=axes, keepdims=True)
    return (x - low) / ops.maximum(high - low, 1e-6)


@keras.saving.register_keras_serializable("acreg")
class ResizeLike(keras.layers.Layer):
    """Resizes a tensor linearly to the grid of another one, see `acreg.layers.functional.resize`.

    Call arguments:
        x: ``(batch, *coarse, maps)``.
        like: ``(batch, *spatial, any)``.

    Returns:
        ``(batch, *spatial, maps)``.
    """

    def call(self, x: Tensor, like: Tensor) -> Tensor:
        return functional.resize(x, functional.spatial_shape(like))

    def compute_output_shape(
        self, x_shape: Sequence[int | None], like_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        return (*like_shape[:-1], x_shape[-1])


def otsu_threshold(values: Tensor) -> Tensor:
    """Otsu's threshold of each sample of ``(batch, *spatial, 1)`` in [0, 1], shape ``(batch, 1, ..., 1)``.

    It maximises the variance between the values below and above it, and has no gradient.

    Source: Otsu, A threshold selection method from gray-level histograms, IEEE TSMC 9 (1979).
    """
    values = ops.stop_gradient(values)
    flat = ops.reshape(values, (ops.shape(values)[0], -1))
    bins = ops.cast(ops.clip(ops.floor(flat * BINS), 0, BINS - 1), "int32")
    # one bin at a time: a one-hot of all voxels would be as large as a network's features
    counts = ops.stack([ops.mean(ops.cast(bins == b, "float32"), axis=1) for b in range(BINS)], axis=1)
    middles = (ops.arange(BINS, dtype="float32") + 0.5) / BINS
    below, first = ops.cumsum(counts, axis=1), ops.cumsum(counts * middles, axis=1)
    above, total = 1.0 - below, first[:, -1:]
    between = ops.square(total * below - first) / ops.maximum(below * above, 1e-9)
    # Between two modes the variance is flat: the middle of the best bins is the threshold.
    best = ops.cast(between >= ops.max(between, axis=1, keepdims=True) * (1 - 1e-5), "float32")
    edges = (ops.arange(BINS, dtype="float32") + 1.0) / BINS
    found = ops.sum(best * edges, axis=1) / ops.sum(best, axis=1)
    return ops.reshape(found, (-1,) + (1,) * (len(values.shape) - 1))


def joint_generator(
    rank: int, channels: int, filters: int, blocks: int, direct: bool, levels: int = 0, dtype: Any = None
) -> keras.Model:
    """A network of residual blocks, from two images and the fixed mask to a field and an activation.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        filters: number of filters of every convolution.
        blocks: residual blocks of two convolutions.
        direct: also generate an image, ``"synthesised"`` ``(batch, *spatial, channels)`` in [0, 1].
        levels: convolutions of stride 2 in front of the blocks, and as many linear resizings behind them, each with a
            convolution and the sum with the features of its grid. All outputs are on the grid of the images.

    Returns:
        A functional model ``{"moving", "fixed", "mask"} -> {"field", "activation"}``; the mask and the activation are
        ``(batch, *spatial, 1)``, the field ``(batch, *spatial, rank)`` in voxels, near 0 in a new network.

    Source: Mahapatra et al., Joint registration and segmentation of X-ray images using generative adversarial networks,
    MLMI 2018, Fig. 1(a), which has no levels. The number of blocks and the width of 9 of the first and last
    convolutions are those of Ledig et al., Photo-realistic single image super-resolution, CVPR 2017, whose notation the
    figure uses.
    """
    # The functional graph
    shape = (None,) * rank
    moving, fixed = (keras.Input((*shape, channels), name=name) for name in ("moving", "fixed"))
    mask = keras.Input((*shape, 1), name="mask")
    x = layers.Concatenate(name="pair", dtype=dtype)([moving, fixed, mask])
    x = layers.ReLU(name="first_relu", dtype=dtype)(convolution(rank, filters, 9, name="first", dtype=dtype)(x))
    features: list[list[keras.KerasTensor]] = [[x]]
    starts = [x]
    for level in range(1, levels + 1):
        x = convolution(rank, filters, strides=2, use_bias=False, name=f"down{level}", dtype=dtype)(x)
        x = layers.ReLU(name=f"down{level}_relu", dtype=dtype)(batch_norm(f"down{level}_bn", dtype)(x))
        features.append([x])
        starts.append(x)
    for number in range(1, blocks + 1):
        y = x
        for part in "ab":
            y = convolution(rank, filters, use_bias=False, name=f"block{number}_{part}", dtype=dtype)(y)
            y = batch_norm(f"block{number}_{part}_bn", dtype)(y)
            if part == "a":
                y = layers.ReLU(name=f"block{number}_relu", dtype=dtype)(y)
            features[-1].append(y)
        x = layers.Add(name=f"block{number}_sum", dtype=dtype)([x, y])
    x = batch_norm("last_bn", dtype)(convolution(rank, filters, use_bias=False, name="last", dtype=dtype)(x))
    features[-1].append(x)
    x = layers.Add(name="last_sum", dtype=dtype)([starts[-1], x])
    for level in range(levels, 0, -1):
        x = ResizeLike(name=f"up{level}_resize", dtype=dtype)(x, starts[level - 1])
        x = convolution(rank, filters, use_bias=False, name=f"up{level}", dtype=dtype)(x)
        x = layers.ReLU(name=f"up{level}_relu", dtype=dtype)(batch_norm(f"up{level}_bn", dtype)(x))
        features[level - 1].append(x)
        x = layers.Add(name=f"up{level}_sum", dtype=dtype)([starts[level - 1], x])
    small = keras.initializers.RandomNormal(stddev=1e-4)
    field = convolution(rank, rank, 9, kernel_initializer=small, name="head", dtype=dtype)(x)
    outputs = {
        "field": layers.Activation("linear", dtype="float32", name="field")(field),
        "activation": NormalisedSum(name="activation", dtype=dtype)(features[0], features[1:]),
    }
    if direct:
        image = convolution(rank, channels, 9, name="head_image", dtype=dtype)(x)
        outputs["synthesised"] = layers.Activation("sigmoid", dtype="float32", name="synthesised")(image)
    return keras.Model({"moving": moving, "fixed": fixed, "mask": mask}, outputs, name="joint_generator")


def discriminator(rank: int, channels: int, filters: int, name: str, dtype: Any = None) -> keras.Model:
    """Eight convolutions, ``filters`` to eight times as many, every second one with stride 2; then two dense layers.

    The features are averaged over the image before the dense layers, so that it takes images of any size.

    Returns:
        A functional model from ``(batch, *spatial, channels)`` to logits ``(batch, 1)``.

    Source: as `joint_generator`, Fig. 1(b).
    """
    x = image = keras.Input((None,) * rank + (channels,), name="image")
    for number in range(8):
        n, strides = filters * 2 ** (number // 2), 1 + number % 2
        x = convolution(rank, n, strides=strides, name=f"convolution{number + 1}", dtype=dtype)(x)
        x = layers.LeakyReLU(0.2, name=f"convolution{number + 1}_relu", dtype=dtype)(x)
    pool = {2: layers.GlobalAveragePooling2D, 3: layers.GlobalAveragePooling3D}[rank]
    x = pool(name="mean", dtype=dtype)(x)
    x = layers.LeakyReLU(0.2, name="dense_relu", dtype=dtype)(layers.Dense(16 * filters, name="dense", dtype=dtype)(x))
    return keras.Model(image, layers.Dense(1, dtype="float32", name="logits")(x), name=name)
