"""DIRNet: displacements at control points, interpolated by a cubic B-spline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from acreg.layers.tensor import Tensor
from acreg.models.blocks import batch_norm, check_rank, convolution
from acreg.models.registration_model import RegistrationModel

SMALL = 1e-4
"""Standard deviation of the initial weights of the last convolution."""


@keras.saving.register_keras_serializable("acreg")
class DIRNet(RegistrationModel):
    """Predicts displacements at control points by convolutions and pooling; a uniform cubic B-spline interpolates them.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        filters: number of filters of every convolution.
        levels: number of halvings from the images to the control points, which are ``2 ** levels`` voxels apart.
        **kwargs: ``losses`` and the other options of `RegistrationModel`. The default loss is ``{"ncc": 1}``; the
            spline keeps the displacement smooth.

    Call arguments and result: see `RegistrationModel`.

    Raises:
        ValueError: a rank other than 2 and 3, fewer than one filter or level, or an unknown loss.

    Source: de Vos et al., End-to-end unsupervised deformable image registration with a convolutional neural network,
    DLMIA 2017, section 2.
    """

    DEFAULT_LOSSES: Mapping[str, float] = {"ncc": 1.0}

    def __init__(self, rank: int = 2, channels: int = 1, filters: int = 16, levels: int = 3, **kwargs: Any) -> None:
        check_rank(rank)
        if filters < 1 or levels < 1:
            raise ValueError(f"`filters` and `levels` must be at least 1. Received: filters={filters}, levels={levels}")
        network = control_points(rank, channels, filters, levels, kwargs.get("dtype"))
        super().__init__(network, multiple=2**levels, **kwargs)
        self.filters = filters
        self.levels = levels

    def _to_padded_grid(self, field: Tensor, sizes: list[int | Tensor]) -> Tensor:
        return b_spline(field, sizes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "channels": self.channels,
            "filters": self.filters,
            "levels": self.levels,
        }


def control_points(rank: int, channels: int, filters: int, levels: int, dtype: Any = None) -> keras.Model:
    """A functional model ``{"moving", "fixed"} -> {"field"}``: displacements every ``2 ** levels`` voxels."""
    pool = {2: layers.AveragePooling2D, 3: layers.AveragePooling3D}[rank]
    # The functional graph
    shape = (None,) * rank + (channels,)
    moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
    x = layers.Concatenate(name="pair", dtype=dtype)([moving, fixed])
    for number in range(1, levels + 3):
        x = convolution(rank, filters, use_bias=False, name=f"encoder{number}", dtype=dtype)(x)
        x = layers.ELU(name=f"encoder{number}_elu", dtype=dtype)(batch_norm(f"encoder{number}_bn", dtype)(x))
        if number <= levels:
            # TensorFlow has none in float16 on the CPU
            x = pool(2, name=f"encoder{number}_pool", dtype="float32" if rank == 3 else dtype)(x)
    small = keras.initializers.RandomNormal(stddev=SMALL)
    x = convolution(rank, rank, kernel_initializer=small, name="head", dtype=dtype)(x)
    x = layers.Activation("linear", dtype="float32", name="field")(x)
    return keras.Model({"moving": moving, "fixed": fixed}, {"field": x}, name="control_points")


def b_spline(control: Tensor, sizes: list[int | Tensor]) -> Tensor:
    """The uniform cubic B-spline of control values over the same extent, ``(batch, *sizes, values)``.

    Args:
        control: ``(batch, *points, values)``; the i-th of n points lies at voxel ``(i + 0.5) * size / n - 0.5``. Beyond
            the outermost points their values go on.
        sizes: voxels along each axis.

    Source: Rueckert et al., IEEE TMI 1999, eq. 2.
    """
    for axis, size in enumerate(sizes, start=1):
        count = ops.shape(control)[axis]
        scale = ops.cast(count, "float32") / ops.cast(size, "float32")
        places = (ops.cast(ops.arange(size), "float32") + 0.5) * scale - 0.5
        below = ops.floor(places)
        u = places - below
        weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
        shape = (1,) * axis + (-1,) + (1,) * (len(control.shape) - axis - 1)
        control = sum(
            ops.take(control, ops.clip(ops.cast(below, "int32") + step, 0, count - 1), axis=axis)
            * ops.reshape(weight / 6.0, shape)
            for step, weight in zip((-1, 0, 1, 2), weights, strict=True)
        )
    return control
