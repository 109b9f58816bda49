"""A coarse-to-fine registration network with one encoder for both images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from acreg.layers import IntegrateVelocity, SpatialTransformer
from acreg.models.blocks import DoubleField, RepeatVoxels, convolution


def pyramid(
    rank: int = 2,
    channels: int = 1,
    filters: Sequence[int] = (32, 48, 64, 64),
    integration_steps: int = 0,
    dtype: Any = None,
) -> keras.Model:
    """A feature pyramid of each image, and a field refined level by level on the pair.

    Each image passes through the same encoder (every level halves the grid, the first by a strided convolution), and
    its features are merged from coarse to fine. From the coarsest level to half the images' resolution, the moving
    features are warped by the current field (integrated, if it is a velocity) and compared with the fixed features, and
    the field is corrected.

    Args:
        rank: 2 or 3.
        channels: channels of one image.
        filters: number of filters of each level of the encoder.
        integration_steps: 0 if the field is a displacement; otherwise it is a velocity, integrated with this many
            squarings.
        dtype: precision policy of the layers; None for the global one.

    Returns:
        A functional model ``{"moving", "fixed"} -> {"field"}``; each image ``(batch, *spatial, channels)`` with sizes
        divisible by ``2 ** len(filters)``, the field ``(batch, *(spatial / 2), rank)`` in voxels of that grid.
    """
    shape = (None,) * rank + (channels,)
    encoder = _encoder(rank, channels, filters, dtype)
    small = keras.initializers.RandomNormal(stddev=1e-3)

    # The functional graph
    moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
    moving_levels, fixed_levels = encoder(moving), encoder(fixed)
    field = None
    for level in range(len(filters), 0, -1):
        a, b = moving_levels[level - 1], fixed_levels[level - 1]
        parts = [a, b]
        if field is not None:
            field = DoubleField(name=f"level{level}_field", dtype=dtype)(field)
            displacement = field
            if integration_steps:
                displacement = IntegrateVelocity(integration_steps, name=f"level{level}_integrate", dtype=dtype)(field)
            parts = [SpatialTransformer(name=f"level{level}_warp", dtype=dtype)(a, displacement), b, field]
        x = layers.Concatenate(name=f"level{level}_pair", dtype=dtype)(parts)
        for part in "ab":
            x = convolution(rank, filters[level - 1], name=f"level{level}_{part}", dtype=dtype)(x)
            x = layers.GroupNormalization(8, name=f"level{level}_{part}_gn", dtype=dtype)(x)
            x = layers.ELU(name=f"level{level}_{part}_elu", dtype=dtype)(x)
        step = convolution(rank, rank, kernel_initializer=small, name=f"level{level}_step", dtype=dtype)(x)
        step = layers.Activation("linear", dtype="float32", name=f"level{level}_step_float32")(step)
        field = step if field is None else layers.Add(name=f"level{level}_sum", dtype="float32")([field, step])
    return keras.Model({"moving": moving, "fixed": fixed}, {"field": field}, name="pyramid")


def _encoder(rank: int, channels: int, filters: Sequence[int], dtype: Any) -> keras.Model:
    """Features of one image at each level, finest (half resolution) first."""

    def block(x: keras.KerasTensor, n: int, name: str, size: int = 3, strides: int = 1) -> keras.KerasTensor:
        x = convolution(rank, n, size, strides, name=name, dtype=dtype)(x)
        return layers.ELU(name=f"{name}_elu", dtype=dtype)(
            layers.GroupNormalization(8, name=f"{name}_gn", dtype=dtype)(x)
        )

    image = keras.Input((None,) * rank + (channels,), name="image")
    x, down = image, []
    for level, n in enumerate(filters, start=1):
        x = block(x, n, f"encoder{level}_down", size=4, strides=2)
        x = block(x, n, f"encoder{level}_a")
        down.append(x)
    levels = [x]
    for level in range(len(filters) - 1, 0, -1):
        n = filters[level - 1]
        x = convolution(rank, n, 1, name=f"merge{level}_project", dtype=dtype)(
            RepeatVoxels(name=f"merge{level}_upsample", dtype=dtype)(x)
        )
        x = layers.Add(name=f"merge{level}_sum", dtype=dtype)([x, down[level - 1]])
        x = block(x, n, f"merge{level}")
        levels.insert(0, x)
    return keras.Model(image, levels, name="encoder")
