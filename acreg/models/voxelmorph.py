"""The U-Net of VoxelMorph, which DDMR uses, with its integration on a coarser grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from acreg.layers import IntegrateVelocity, functional
from acreg.layers.tensor import Tensor
from acreg.models.blocks import RepeatVoxels, convolution, max_pool

SLOPE = 0.2


def voxelmorph_unet(
    rank: int,
    channels: int,
    encoder: Sequence[int],
    decoder: Sequence[int],
    head: Sequence[int],
    integration_steps: int = 0,
    downsize: int = 1,
    dtype: Any = None,
) -> keras.Model:
    """A U-Net with concatenated skips, from ``[moving, fixed]`` to a field on the same grid.

    Each level has one convolution of width 3 and a LeakyReLU. An encoder level ends with max-pooling. The decoder
    begins on the coarsest grid; each of its levels ends by repeating voxels and concatenating the features of the
    encoder before its pooling. The convolutions of the head follow at full resolution, then a convolution without
    activation predicts the field.

    Args:
        rank: 2 or 3.
        channels: channels of one image.
        encoder: filters of each level, finest first.
        decoder: filters of each level, coarsest first; as many as the encoder has.
        head: filters of the convolutions before that of the field.
        integration_steps, downsize: with a ``downsize`` above 1, the field is resized to a grid that is coarser by this
            factor, integrated there if there are steps, and the displacement is resized back; see `RescaleField`. With
            1, the field is returned without integration.
        dtype: precision policy of the layers; None for the global one.

    Returns:
        A functional model ``{"moving", "fixed"} -> {"field"}``; each image ``(batch, *spatial, channels)`` with sizes
        divisible by ``2 ** len(encoder)``, the field ``(batch, *spatial, rank)`` in voxels. A velocity that is
        integrated inside is also returned, as ``"velocity"``, ``(batch, *(spatial / downsize), rank)``, in voxels of
        that grid.

    Source: Perez de Frutos et al., section 2.2; Balakrishnan et al., VoxelMorph, IEEE TMI 2019; for the integration
    Dalca et al., Medical Image Analysis 2019.
    """

    def block(x: keras.KerasTensor, n: int, name: str) -> keras.KerasTensor:
        x = convolution(rank, n, kernel_initializer=keras.initializers.HeNormal(), name=name, dtype=dtype)(x)
        return layers.LeakyReLU(SLOPE, name=f"{name}_relu", dtype=dtype)(x)

    # The functional graph
    shape = (None,) * rank + (channels,)
    moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
    x = layers.Concatenate(name="pair", dtype=dtype)([moving, fixed])
    skips = []
    for level, n in enumerate(encoder, start=1):
        x = block(x, n, f"encoder{level}")
        skips.append(x)
        x = max_pool(rank, name=f"encoder{level}_pool", dtype=dtype)(x)
    for level, n in zip(range(len(encoder), 0, -1), decoder, strict=True):
        x = RepeatVoxels(name=f"decoder{level}_upsample", dtype=dtype)(block(x, n, f"decoder{level}"))
        x = layers.Concatenate(name=f"decoder{level}_skip", dtype=dtype)([x, skips[level - 1]])
    for number, n in enumerate(head, start=1):
        x = block(x, n, f"head{number}")
    small = keras.initializers.RandomNormal(stddev=1e-5)
    x = convolution(rank, rank, kernel_initializer=small, name="head_field", dtype=dtype)(x)
    x = layers.Activation("linear", dtype="float32", name="field")(x)
    outputs = {"field": x}
    if downsize > 1:
        x = RescaleField(1 / downsize, name="field_downsize", dtype=dtype)(x)
        if integration_steps:
            outputs["velocity"] = x
            x = IntegrateVelocity(integration_steps, name="field_integrate", dtype=dtype)(x)
        outputs["field"] = RescaleField(downsize, name="field_upsize", dtype=dtype)(x)
    return keras.Model({"moving": moving, "fixed": fixed}, outputs, name="voxelmorph_unet")


@keras.saving.register_keras_serializable("acreg")
class RescaleField(keras.layers.Layer):
    """Resizes a field to another grid as VoxelMorph does: the first and last voxels of both grids coincide.

    Elsewhere in acreg, grids share their *extent* (`acreg.layers.ResizeDisplacement`). Here, the centres of the corner
    voxels coincide, but the values are still multiplied by ``factor``: the weights of VoxelMorph were trained this way.

    Args:
        factor: factor of the size of each axis and of the values.

    Call arguments:
        field: ``(batch, *spatial, rank)``.

    Returns:
        ``(batch, *(int(n * factor) for n in spatial), rank)``, float32.
    """

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.factor = factor

    def call(self, field: Tensor) -> Tensor:
        x = ops.cast(field, "float32")
        for axis, size in enumerate(functional.spatial_shape(field), start=1):
            # One axis after the other by a matrix product, as in `functional.resize`.
            target = self._target(size)
            last, steps = ops.cast(size - 1, "float32"), ops.cast(ops.maximum(target - 1, 1), "float32")
            position = ops.arange(target, dtype="float32") * (last / steps)
            distance = ops.abs(position[:, None] - ops.arange(size, dtype="float32")[None, :])
            x = ops.moveaxis(ops.tensordot(ops.relu(1.0 - distance), x, axes=[[1], [axis]]), 0, axis)
        return x * self.factor

    def _target(self, size: Any) -> Any:
        return size * round(self.factor) if self.factor >= 1 else size // round(1 / self.factor)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        spatial = (None if n is None else self._target(n) for n in input_shape[1:-1])
        return (input_shape[0], *spatial, input_shape[-1])

    def compute_output_spec(self, field: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(field.shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}
