"""The VectorCNN: the registration network of AC-RegNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from acreg.models.blocks import RepeatVoxels, average_pool, batch_norm, convolution


def vector_cnn(
    rank: int = 2,
    channels: int = 1,
    filters: Sequence[int] = (16, 32, 64, 128),
    dropout: float = 0.5,
    head_batch_norm: bool = False,
    dtype: Any = None,
) -> keras.Model:
    """A U-Net with additive skips, from ``[moving, fixed]`` to a field on the same grid.

    Every convolution has width 3 and no bias and is followed by batch normalisation, with ELU in between. The skip
    connection of a level is the output of its second convolution *before* the activation, and is added after the first
    convolution of the decoder level.

    Args:
        rank: 2 or 3.
        channels: channels of one image.
        filters: number of filters of each level, finest first; each level except the first halves the grid.
        dropout: rate after the deepest level and after each decoder level except the last.
        head_batch_norm: batch normalisation of the field itself, needed by the authors' weights. Without it (the
            default), the head is an ordinary convolution with bias whose output starts near zero.
        dtype: precision policy of the layers; None for the global one.

    Returns:
        A functional model ``{"moving", "fixed"} -> {"field"}``; each image ``(batch, *spatial, channels)`` with sizes
        divisible by ``2 ** (len(filters) - 1)``, the field ``(batch, *spatial, rank)`` in voxels.

    Source: Mansilla et al., Appendix A, and their implementation.
    """

    def initializer() -> keras.initializers.Initializer:
        return keras.initializers.TruncatedNormal(stddev=0.01)  # a shared one draws the same weights again

    def conv(x: keras.KerasTensor, n: int, name: str) -> keras.KerasTensor:
        x = convolution(rank, n, use_bias=False, kernel_initializer=initializer(), name=name, dtype=dtype)(x)
        return batch_norm(f"{name}_bn", dtype)(x)

    # The functional graph
    shape = (None,) * rank + (channels,)
    moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
    x = layers.Concatenate(name="pair", dtype=dtype)([moving, fixed])
    skips = []
    for level, n in enumerate(filters, start=1):
        if level > 1:
            x = average_pool(rank, name=f"encoder{level}_pool", dtype=dtype)(x)
        x = layers.ELU(name=f"encoder{level}_a_elu", dtype=dtype)(conv(x, n, f"encoder{level}_a"))
        x = conv(x, n, f"encoder{level}_b")
        skips.append(x)
        x = layers.ELU(name=f"encoder{level}_b_elu", dtype=dtype)(x)
    x = layers.Dropout(dropout, name=f"encoder{len(filters)}_dropout", dtype=dtype)(x)
    for level in range(len(filters) - 1, 0, -1):
        n = filters[level - 1]
        x = conv(RepeatVoxels(name=f"decoder{level}_upsample", dtype=dtype)(x), n, f"decoder{level}_up")
        x = layers.Add(name=f"decoder{level}_skip", dtype=dtype)([x, skips[level - 1]])
        x = layers.ELU(name=f"decoder{level}_up_elu", dtype=dtype)(x)
        for part in "ab":
            x = layers.ELU(name=f"decoder{level}_{part}_elu", dtype=dtype)(conv(x, n, f"decoder{level}_{part}"))
        if level > 1:
            x = layers.Dropout(dropout, name=f"decoder{level}_dropout", dtype=dtype)(x)
    if head_batch_norm:
        x = conv(x, rank, "head")
    else:
        x = convolution(rank, rank, kernel_initializer=initializer(), name="head", dtype=dtype)(x)
    x = layers.Activation("linear", dtype="float32", name="field")(x)
    return keras.Model({"moving": moving, "fixed": fixed}, {"field": x}, name="vector_cnn")
