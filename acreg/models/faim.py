"""The network of FAIM: wide kernels first, additive skips, no pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from acreg.models.blocks import convolution

KERNELS = (2, 5, 7, 11)
"""Widths of the kernels of the first layer."""


def faim(rank: int = 3, channels: int = 1, filters: Sequence[int] = (32, 32, 32), dtype: Any = None) -> keras.Model:
    """Convolutions of several widths in parallel, then strided and transposed convolutions with additive skips.

    Each level after the first begins with a strided convolution, the third and later ones after a convolution of their
    own level; PReLU follows, with one slope for each filter. On the coarsest grid, a convolution of width 2 is added. A
    level of the decoder has a transposed convolution, a convolution and PReLU, and adds the features of the encoder.

    Args:
        rank: 2 or 3.
        channels: channels of one image.
        filters: number of filters of each level, finest first, at least two levels; a quarter of the first number is
            that of each of the four widths.
        dtype: precision policy of the layers; None for the global one.

    Returns:
        A functional model ``{"moving", "fixed"} -> {"field"}``; each image ``(batch, *spatial, channels)`` with sizes
        divisible by ``2 ** (len(filters) - 1)``, the field ``(batch, *spatial, rank)`` in voxels.

    Raises:
        ValueError: fewer than two levels, or a first number of filters that is not a multiple of 4.

    Source: Kuang and Schmah, FAIM: a ConvNet method for unsupervised 3D medical image registration, MLMI 2019, and
    their published code, which pads at the borders in another way. Its field is in coordinates from -1 to 1.
    """
    if len(filters) < 2 or filters[0] % len(KERNELS):
        raise ValueError(
            "The network 'faim' has at least two levels, the first with a multiple of 4 filters. "
            f"Received: filters={tuple(filters)}"
        )
    up = {2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}[rank]

    def prelu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return layers.PReLU(shared_axes=list(range(1, rank + 1)), name=f"{name}_prelu", dtype=dtype)(x)

    # The functional graph
    shape = (None,) * rank + (channels,)
    moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
    x = layers.Concatenate(name="pair", dtype=dtype)([moving, fixed])
    each = filters[0] // len(KERNELS)
    wide = [convolution(rank, each, size, name=f"encoder1_width{size}", dtype=dtype)(x) for size in KERNELS]
    x = prelu(layers.Concatenate(name="encoder1_widths", dtype=dtype)(wide), "encoder1")
    skips = [x]
    for level, n in enumerate(filters[1:], start=2):
        if level > 2:
            x = convolution(rank, filters[level - 2], name=f"encoder{level}", dtype=dtype)(x)
        x = prelu(convolution(rank, n, strides=2, name=f"encoder{level}_down", dtype=dtype)(x), f"encoder{level}")
        skips.append(x)
    deepest = convolution(rank, filters[-1], 2, name="bottleneck", dtype=dtype)(x)
    x = layers.Add(name="bottleneck_sum", dtype=dtype)([deepest, x])
    for level in range(len(filters) - 1, 0, -1):
        n = filters[level - 1]
        x = up(n, 3, strides=2, padding="same", name=f"decoder{level}_up", dtype=dtype)(x)
        x = prelu(convolution(rank, n, name=f"decoder{level}", dtype=dtype)(x), f"decoder{level}")
        x = layers.Add(name=f"decoder{level}_skip", dtype=dtype)([x, skips[level - 1]])
    small = keras.initializers.RandomNormal(stddev=1e-5)
    x = convolution(rank, rank, kernel_initializer=small, name="head", dtype=dtype)(x)
    x = layers.Activation("linear", dtype="float32", name="field")(x)
    return keras.Model({"moving": moving, "fixed": fixed}, {"field": x}, name="faim")
