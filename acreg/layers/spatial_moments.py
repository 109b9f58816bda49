"""Pooling that keeps information on positions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import keras
from keras import ops

from acreg.layers import functional
from acreg.layers.tensor import Tensor


@keras.saving.register_keras_serializable("acreg")
class SpatialMoments(keras.layers.Layer):
    """Means over the grid of each channel, multiplied by products of up to ``order`` coordinates.

    Order 0 is global average pooling. With order 1, a linear layer sees where features lie; with order 2, it also sees
    their spread and orientation. Coordinates are those of `acreg.layers.AffineToDisplacement`: relative to the centre
    of the grid, in units of half its longest side. They are computed in float32.

    Args:
        order: 0, 1 or 2.

    Call arguments:
        x: ``(batch, *spatial, channels)``.

    Returns:
        float32 ``(batch, channels * count)``; ``count`` is 1, ``1 + rank`` or ``1 + rank + rank (rank + 1) / 2``, and
        moments of the same kind are adjacent.
    """

    def __init__(self, order: int = 2, **kwargs: Any) -> None:
        if order not in (0, 1, 2):
            raise ValueError(f"`order` must be 0, 1 or 2. Received: order={order!r}")
        super().__init__(autocast=False, **kwargs)
        self.order = order

    def _powers(self, rank: int) -> list[tuple[int, ...]]:
        """The axes whose coordinates are multiplied, for each moment."""
        return [axes for k in range(self.order + 1) for axes in combinations_with_replacement(range(rank), k)]

    def call(self, x: Tensor) -> Tensor:
        x, rank = ops.cast(x, "float32"), len(x.shape) - 2
        sizes = [ops.cast(n, "float32") for n in functional.spatial_shape(x)]
        longest = ops.max(ops.stack(sizes))
        lines = [(ops.arange(n, dtype="float32") - (n - 1.0) / 2.0) * 2.0 / longest for n in sizes]
        found = []
        for axes in self._powers(rank):
            value = x
            for axis in range(rank):  # one axis after the other: the grid shrinks by each
                line = lines[axis] ** float(axes.count(axis))
                value = ops.tensordot(line, value, axes=[[0], [1]]) / sizes[axis]
                # the batch is again the first axis, and the next spatial axis the second
            found.append(value)
        return ops.concatenate(found, axis=-1)

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(x.shape), dtype="float32")

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        channels = input_shape[-1]
        moments = len(self._powers(len(input_shape) - 2))
        return (input_shape[0], None if channels is None else moments * channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "order": self.order}
