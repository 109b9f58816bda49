"""Building blocks that the networks share; each works in 2-D and 3-D according to ``rank``.

``dtype`` is a precision policy, as Keras layers take it: its name, the policy, or its config; None for the global one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

import keras
from keras import layers, ops

from acreg.layers import functional
from acreg.layers.tensor import Tensor


def check_rank(rank: int) -> None:
    """Raise `ValueError` for a rank other than 2 and 3."""
    if rank not in (2, 3):
        raise ValueError(f"`rank` must be 2 or 3. Received: rank={rank}")


def convolution(
    rank: int, filters: int, size: int | tuple[int, ...] = 3, strides: int = 1, **kwargs: Any
) -> keras.layers.Layer:
    """A convolution of the given rank with "same" padding; one kernel size, or one for each axis."""
    kind = {2: layers.Conv2D, 3: layers.Conv3D}[rank]
    return kind(filters, size, strides=strides, padding="same", **kwargs)


def batch_norm(name: str | None = None, dtype: Any = None) -> keras.layers.Layer:
    """Batch normalisation with the decay and epsilon of the AC-RegNet authors."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name, dtype=dtype)


def normalisation(kind: str, filters: int, name: str | None = None, dtype: Any = None) -> keras.layers.Layer:
    """``"group"`` normalisation, of 8 groups (or fewer, for fewer filters), or ``"batch"`` normalisation."""
    if kind == "batch":
        return batch_norm(name, dtype)
    return GroupNormalization(gcd(8, filters), name=name, dtype=dtype)


@keras.saving.register_keras_serializable("acreg")
class GroupNormalization(layers.GroupNormalization):
    """Group normalisation whose means are taken over one axis after the other, in float32.

    The sum of all voxels of a volume at once, as Keras takes it, is wrong in the fifth digit, differently for each
    program that runs the network; after eight affine passes that was 0.006 voxels. The name is that of Keras, which is
    a part of the paths in files of weights.
    """

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, "float32")
        x = x - self._means(x)
        scale = ops.rsqrt(self._means(x * x) + self.epsilon) * ops.cast(self.gamma, "float32")
        return ops.cast(x * scale + ops.cast(self.beta, "float32"), self.compute_dtype)

    def _means(self, x: Tensor) -> Tensor:
        """Means of each sample and group, ``(batch, 1, ..., 1, channels)``."""
        rank, channels = len(x.shape) - 2, x.shape[-1]
        for axis in range(1, rank + 1):
            x = ops.mean(x, axis=axis, keepdims=True)
        grouped = ops.mean(ops.reshape(x, (-1, self.groups, channels // self.groups)), axis=-1)
        return ops.reshape(ops.repeat(grouped, channels // self.groups, axis=-1), (-1, *(1,) * rank, channels))


def residual_block(
    x: keras.KerasTensor, filters: int, slope: float, norm: str, name: str, dtype: Any = None
) -> keras.KerasTensor:
    """Two convolutions plus the input, which passes a convolution of width 1 if the numbers of filters differ."""
    rank, start = len(x.shape) - 2, x
    for part in "ab":
        x = convolution(rank, filters, name=f"{name}_{part}", dtype=dtype)(x)
        x = normalisation(norm, filters, name=f"{name}_{part}_norm", dtype=dtype)(x)
        if part == "a":
            x = layers.LeakyReLU(slope, name=f"{name}_{part}_relu", dtype=dtype)(x)
    if start.shape[-1] != filters:
        start = convolution(rank, filters, 1, name=f"{name}_match", dtype=dtype)(start)
    return layers.LeakyReLU(slope, name=f"{name}_relu", dtype=dtype)(
        layers.Add(name=f"{name}_sum", dtype=dtype)([start, x])
    )


def dilated_block(
    x: keras.KerasTensor, filters: int, rates: Sequence[int], norm: str, name: str, dtype: Any = None
) -> keras.KerasTensor:
    """A sequence of dilated convolutions, each with ReLU and normalisation: a wide receptive field on a coarse grid."""
    rank = len(x.shape) - 2
    for rate in rates:
        x = convolution(rank, filters, dilation_rate=rate, name=f"{name}_{rate}", dtype=dtype)(x)
        x = layers.ReLU(name=f"{name}_{rate}_relu", dtype=dtype)(x)
        x = normalisation(norm, filters, name=f"{name}_{rate}_norm", dtype=dtype)(x)
    return x


def average_pool(rank: int, name: str | None = None, dtype: Any = None) -> keras.layers.Layer:
    """Halves every spatial axis by averaging."""
    if rank == 2:
        return layers.AveragePooling2D(2, name=name, dtype=dtype)
    return layers.AveragePooling3D(2, name=name, dtype="float32")  # TensorFlow has no pooling in float16 on the CPU


def max_pool(rank: int, name: str | None = None, dtype: Any = None) -> keras.layers.Layer:
    """Halves every spatial axis by the maximum."""
    if rank == 2:
        return layers.MaxPooling2D(2, name=name, dtype=dtype)
    return layers.MaxPooling3D(2, name=name, dtype="float32")  # as `average_pool`


@keras.saving.register_keras_serializable("acreg")
class RepeatVoxels(keras.layers.Layer):
    """Doubles every spatial axis by repeating voxels (nearest-neighbour upsampling), in any rank.

    Call arguments:
        x: ``(batch, *spatial, channels)``.

    Returns:
        ``(batch, *(2 * n for n in spatial), channels)``.
    """

    def call(self, x: Tensor) -> Tensor:
        for axis in range(1, len(x.shape) - 1):
            x = ops.repeat(x, 2, axis=axis)
        return x

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (input_shape[0], *(None if n is None else 2 * n for n in input_shape[1:-1]), input_shape[-1])


@keras.saving.register_keras_serializable("acreg")
class DoubleField(keras.layers.Layer):
    """Resizes a field to a grid of twice its size, in voxels of the new grid.

    Call arguments:
        field: ``(batch, *spatial, rank)``.

    Returns:
        ``(batch, *(2 * n for n in spatial), rank)``, float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, field: Tensor) -> Tensor:
        return functional.resize_displacement(field, [2 * n for n in functional.spatial_shape(field)])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (input_shape[0], *(None if n is None else 2 * n for n in input_shape[1:-1]), input_shape[-1])
