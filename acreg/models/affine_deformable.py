"""The network that registers without pre-alignment: one encoder for an affine and a deformable part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from acreg.layers import AffineToDisplacement, SpatialMoments, SpatialTransformer
from acreg.models.blocks import RepeatVoxels, convolution, dilated_block, normalisation, residual_block

SLOPE = 0.2


def affine_deformable(
    rank: int,
    channels: int,
    filters: Sequence[int],
    decoder: Sequence[int],
    affine: str,
    affine_passes: int,
    moments: int,
    deformable: bool,
    norm: str,
    dilated_norm: str,
    dtype: Any = None,
) -> keras.Model:
    """A network from a pair of images to the parameters of an affine map and the field that is applied before it.

    The moving and the fixed image, stacked as channels, pass through the encoder. A linear layer that starts at 0 maps
    its last level, pooled over the grid, to the parameters. The moving image is warped by this map and passes through
    the same encoder again, together with the fixed image; from the levels of the encoder, the decoder predicts the
    field.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        filters: number of filters of each level of the encoder, finest first; each level after the first halves the
            grid.
        decoder: filters of each decoder level, coarsest first, including that of the dilated block. With as many levels
            as ``filters``, the field is on the grid of the images; with one fewer, at half of its resolution.
        affine: a kind of `AffineToDisplacement`; "none" for the deformable part alone.
        affine_passes: number of passes of the affine part: from the second pass on, it sees the image warped so far,
            has the same weights, and adds to the parameters.
        moments: order of the `SpatialMoments` that pool the features.
        deformable: False for the affine part alone; the field is then 0.
        norm: "group" or "batch".
        dilated_norm: the same for the dilated block.
        dtype: precision policy of the layers; None for the global one.

    Returns:
        A functional model ``{"moving", "fixed"} -> {"field"}`` and, with an affine part, ``"parameters"``, ``(batch,
        count)``; each image ``(batch, *spatial, channels)`` with sizes divisible by ``2 ** (len(filters) - 1)``.

    Source: the joint affine and deformable network, section 2.A; `AffineDeformableNet` lists the details that it leaves
    open.
    """
    shape = (None,) * rank + (channels,)
    encoder = _encoder(rank, channels, filters, norm, dtype)

    # The functional graph
    moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
    outputs, aligned = {}, moving
    if affine != "none":
        count = AffineToDisplacement.count(affine, rank)
        linear = layers.Dense(
            count, kernel_initializer="zeros", bias_initializer="zeros", dtype="float32", name="affine_parameters"
        )
        warp, to_displacement = (
            SpatialTransformer(name="affine_warp", dtype=dtype),
            AffineToDisplacement(affine, name="affine_map", dtype=dtype),
        )
        parameters = None
        for number in range(affine_passes):
            levels = encoder(layers.Concatenate(name=f"affine_pair{number + 1}", dtype=dtype)([aligned, fixed]))
            # The means of normalised features add up to a constant in each group: pooled features are rectified again.
            x = layers.ReLU(name=f"affine_relu{number + 1}", dtype=dtype)(levels[-1])
            step = linear(SpatialMoments(moments, name=f"affine_pool{number + 1}", dtype=dtype)(x))
            parameters = (
                step
                if parameters is None
                else layers.Add(name=f"affine_sum{number + 1}", dtype=dtype)([parameters, step])
            )
            aligned = warp(moving, to_displacement(parameters, moving))
        outputs["parameters"] = parameters
    if deformable:
        levels = encoder(layers.Concatenate(name="pair", dtype=dtype)([aligned, fixed]))
        x = dilated_block(levels[-1], decoder[0], (1, 2, 4, 8), dilated_norm, "dilated", dtype)
        for level, n in zip(range(len(filters) - 1, 0, -1), decoder[1:]):
            x = RepeatVoxels(name=f"decoder{level}_upsample", dtype=dtype)(x)
            x = layers.Concatenate(name=f"decoder{level}_skip", dtype=dtype)([x, levels[level - 1]])
            x = residual_block(x, n, SLOPE, norm, f"decoder{level}", dtype)
        small = keras.initializers.RandomNormal(stddev=1e-5)
        x = convolution(rank, rank, kernel_initializer=small, name="head_field", dtype=dtype)(x)
    else:
        x = NoField(name="head_none", dtype=dtype)(fixed)
    outputs["field"] = layers.Activation("linear", dtype="float32", name="field")(x)
    return keras.Model({"moving": moving, "fixed": fixed}, outputs, name="affine_deformable")


@keras.saving.register_keras_serializable("acreg")
class NoField(keras.layers.Layer):
    """A field of zeros on the grid of an image ``(batch, *spatial, channels)``."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, image: keras.KerasTensor) -> keras.KerasTensor:
        rank = len(image.shape) - 2
        return keras.ops.zeros((*keras.ops.shape(image)[:-1], rank), "float32")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], len(input_shape) - 2)


def _encoder(rank: int, channels: int, filters: Sequence[int], norm: str, dtype: Any) -> keras.Model:
    """From a stacked pair to its features at each level, finest first."""
    x = pair = keras.Input((None,) * rank + (2 * channels,))
    levels = []
    for level, n in enumerate(filters, start=1):
        if level > 1:
            x = convolution(rank, n, strides=2, name=f"encoder{level}_down", dtype=dtype)(x)
        x = convolution(rank, n, name=f"encoder{level}", dtype=dtype)(x)
        x = layers.LeakyReLU(SLOPE, name=f"encoder{level}_relu", dtype=dtype)(x)
        x = normalisation(norm, n, name=f"encoder{level}_norm", dtype=dtype)(x)
        levels.append(x)
    return keras.Model(pair, levels, name="encoder")
