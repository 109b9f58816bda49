"""Moving a displacement to a grid of another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from acreg.layers import functional
from acreg.layers.tensor import Tensor


@keras.saving.register_keras_serializable("acreg")
class ResizeDisplacement(keras.layers.Layer):
    """Resizes a displacement to another grid over the same extent, and scales its values accordingly, per axis.

    Linear interpolation; voxel ``p`` of the result lies at ``(p + 0.5) * n_in / n_out - 0.5`` of the input. Component
    ``d`` is multiplied by ``n_out / n_in`` of axis ``d``, since it counts voxels of the new grid.

    Args:
        shape: the spatial shape of the result.

    Call arguments:
        displacement: ``(batch, *spatial, rank)``, voxels of its own grid.

    Returns:
        ``(batch, *shape, rank)``, voxels of the new grid, float32.

    Raises:
        ValueError: when ``shape`` does not have one positive size for each axis, or the input is not a field.
    """

    def __init__(self, shape: Sequence[int], **kwargs: Any) -> None:
        shape = tuple(int(n) for n in shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ValueError(f"`shape` must be 2 or 3 sizes of at least 1. Received: shape={shape}")
        super().__init__(autocast=False, **kwargs)
        self.shape = shape

    def call(self, displacement: Tensor) -> Tensor:
        self._check(displacement.shape)
        return functional.resize_displacement(displacement, self.shape)

    def compute_output_spec(self, displacement: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(displacement.shape), dtype="float32")

    def compute_output_shape(self, displacement_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        self._check(displacement_shape)
        return (displacement_shape[0], *self.shape, displacement_shape[-1])

    def _check(self, displacement: Tensor) -> None:
        functional.check_field("displacement", displacement)
        if displacement[-1] != len(self.shape):
            raise ValueError(
                f"`displacement` must have {len(self.shape)} spatial axes, as `shape={self.shape}` has. "
                f"Received: displacement.shape={tuple(displacement)}"
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": self.shape}
