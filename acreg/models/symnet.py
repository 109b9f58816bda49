"""SYMNet: a network that moves both images to a common middle, and so finds a transform and its inverse."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
from keras import layers, ops

from acreg.layers import ComposeDisplacements, IntegrateVelocity, functional
from acreg.layers.tensor import Tensor
from acreg.losses import FIELD_LOSSES, IMAGE_LOSSES, JACOBIAN_LOSSES, Loss
from acreg.models.blocks import check_rank, convolution
from acreg.models.loss_values import LossValues
from acreg.models.registration_model import RegistrationModel

LEVELS = 4
"""Halvings of the grid."""
MIDDLE, INVERSE = "middle_", "inverse_"


def magnitude(velocity: Tensor, inverse_velocity: Tensor) -> Tensor:
    """Absolute difference of the mean absolute values of two velocities, ``(batch,)``, voxels.

    Source: the magnitude constraint of Mok and Chung, as in their published code, which takes it of the displacements
    to the middle.
    """
    axes = tuple(range(1, len(velocity.shape)))
    return ops.abs(ops.mean(ops.abs(velocity), axis=axes) - ops.mean(ops.abs(inverse_velocity), axis=axes))


OWN_LOSSES = [
    *(Loss(MIDDLE + n, ("fixed_middle", "moving_middle"), loss.function) for n, loss in IMAGE_LOSSES.items()),
    *(Loss(INVERSE + n, ("moving", "inverse_warped"), loss.function) for n, loss in IMAGE_LOSSES.items()),
    *(Loss(INVERSE + n, ("inverse_velocity",), loss.function) for n, loss in FIELD_LOSSES.items()),
    *(Loss(INVERSE + n, ("inverse_displacement",), loss.function) for n, loss in JACOBIAN_LOSSES.items()),
    Loss("magnitude", ("velocity", "inverse_velocity"), magnitude),
]


@keras.saving.register_keras_serializable("acreg")
class SYMNet(RegistrationModel):
    """Predicts two stationary velocities, along which the moving and the fixed image move to a common middle.

    With the exponentials ``a = exp(v / 2)`` of the velocity and ``b = exp(w / 2)`` of the inverse velocity, the moving
    image warped by ``a`` and the fixed image warped by ``b`` should be alike. The displacement warps by ``a`` and then
    by ``exp(-w / 2)``, its inverse by ``b`` and then by ``exp(-v / 2)``.

    Losses whose name begins with ``middle_``, such as ``middle_local_ncc``, compare the two images in the middle; those
    with ``inverse_`` act on the inverse: on the fixed image warped to the moving one, on the inverse velocity (field
    losses) or on the inverse displacement. ``magnitude`` keeps the velocities equally large.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        filters: number of filters of the finest level; deeper levels have multiples of it.
        velocity_limit: largest component of a velocity, in voxels.
        integration_steps: squarings of each exponential.
        **kwargs: ``losses``, ``num_classes`` and the other options of `RegistrationModel`. The default losses are those
            of the paper: local correlations in windows of 7 voxels in the middle and in both images, with weight 1;
            diffusion of both velocities, 3; negative Jacobian determinants of both displacements, 1000; and
            ``magnitude``, 0.1.

    Call arguments and result: see `RegistrationModel`; the result includes ``"velocity"`` and ``"inverse_velocity"``,
    and ``"half"``, the displacement of the moving image to the middle, ``(batch, *spatial, rank)`` in voxels of the
    network's grid.

    Raises:
        ValueError: a rank other than 2 and 3, no filters, a limit that is not positive, or an unknown loss.

    Source: Mok and Chung, Fast symmetric diffeomorphic image registration with convolutional neural networks, CVPR
    2020. Velocities are integrated up to the time 0.5, as in the paper; the published code goes on to 1,
    weights the determinants with 100 or 10, and applies the two halves of a displacement in the opposite order. The
    last convolutions begin near zero, so that a new network is the identity.

    Example:

    >>> model = acreg.models.SYMNet(rank=3, velocity_limit=20)
    >>> model.compile(optimizer=keras.optimizers.Adam(1e-4))
    >>> model.fit(acreg.data.tf_pairs(sampler), steps_per_epoch=100)
    """

    DEFAULT_LOSSES: Mapping[str, float | Mapping[str, Any]] = {
        "local_ncc": {"weight": 1.0, "window": 7},
        "inverse_local_ncc": {"weight": 1.0, "window": 7},
        "middle_local_ncc": {"weight": 1.0, "window": 7},
        "negative_jacobian": 1000.0,
        "inverse_negative_jacobian": 1000.0,
        "diffusion": 3.0,
        "inverse_diffusion": 3.0,
        "magnitude": 0.1,
    }

    def __init__(
        self,
        rank: int = 3,
        channels: int = 1,
        filters: int = 8,
        velocity_limit: float = 100.0,
        integration_steps: int = 7,
        **kwargs: Any,
    ) -> None:
        check_rank(rank)
        if filters < 1 or not velocity_limit > 0:
            raise ValueError(
                "`filters` must be at least 1 and `velocity_limit` positive. "
                f"Received: filters={filters}, velocity_limit={velocity_limit}"
            )
        if kwargs.get("symmetric"):
            raise ValueError(
                "`symmetric` is for networks with one velocity. SYMNet has one for each direction. "
                "Received: symmetric=True"
            )
        network = symnet(rank, channels, filters, velocity_limit, integration_steps, kwargs.get("dtype"))
        super().__init__(network, multiple=2**LEVELS, own_losses=OWN_LOSSES, **kwargs)
        self.filters = filters
        self.velocity_limit = velocity_limit
        self._steps = integration_steps  # of the network, whose field is a displacement

    def loss_values(
        self, x: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], num_classes: int | None, training: bool
    ) -> LossValues:
        values = super().loss_values(x, y_pred, num_classes, training)
        sizes = functional.spatial_shape(x["fixed"])
        velocity, inverse = y_pred["velocity"], y_pred["inverse_velocity"]

        def inverse_displacement() -> Tensor:
            back = functional.integrate(-velocity / 2.0, self._steps)
            return self._to_image_grid(functional.compose(values["inverse_half"], back), sizes)

        def middle(role: str, half: str) -> Tensor:
            return functional.warp(x[role], self._to_image_grid(values[half], sizes))

        values.add("inverse_half", lambda: functional.integrate(inverse / 2.0, self._steps))
        values.add("inverse_displacement", inverse_displacement)
        values.add("inverse_warped", lambda: functional.warp(x["fixed"], values["inverse_displacement"]))
        for role, half in (("moving", "half"), ("fixed", "inverse_half")):
            values.add(f"{role}_middle", partial(middle, role, half))
        return values

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "channels": self.channels,
            "filters": self.filters,
            "velocity_limit": self.velocity_limit,
            "integration_steps": self._steps,
        }


def symnet(rank: int, channels: int, filters: int, limit: float, steps: int, dtype: Any = None) -> keras.Model:
    """An encoder-decoder with two heads, and the integration and composition of their velocities.

    Returns:
        A functional model ``{"moving", "fixed"} -> {"field", "velocity", "inverse_velocity", "half"}``, see `SYMNet`:
        ``"field"`` is the displacement; all are ``(batch, *spatial, rank)`` in voxels. Sizes are multiples of 16.

    Source: the paper, with the widths of the published code.
    """
    up = {2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}[rank]

    def block(x: keras.KerasTensor, times: int, name: str, strides: int = 1) -> keras.KerasTensor:
        x = convolution(rank, times * filters, strides=strides, name=name, dtype=dtype)(x)
        return layers.ReLU(name=f"{name}_relu", dtype=dtype)(x)

    def head(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        small = keras.initializers.RandomNormal(stddev=1e-5)
        x = convolution(rank, rank, 5, use_bias=False, kernel_initializer=small, name=f"head_{name}", dtype=dtype)(x)
        x = layers.Activation("softsign", dtype="float32", name=f"{name}_softsign")(x)
        return layers.Rescaling(limit, dtype="float32", name=name)(x)

    def half(velocity: keras.KerasTensor, time: float, name: str) -> keras.KerasTensor:
        x = layers.Rescaling(time, dtype="float32", name=f"{name}_scale")(velocity)
        return IntegrateVelocity(steps, dtype="float32", name=name)(x)

    # The functional graph
    shape = (None,) * rank + (channels,)
    moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
    x = layers.Concatenate(name="pair", dtype=dtype)([moving, fixed])
    x = block(block(x, 1, "encoder1_a"), 1, "encoder1_b")
    skips = []
    for level, (first, second) in enumerate(((2, 2), (4, 4), (8, 8), (16, 8)), start=2):
        skips.append(x)
        x = block(block(x, first, f"encoder{level}_down", strides=2), second, f"encoder{level}")
    for level, (wide, first, second) in zip((4, 3, 2, 1), ((8, 8, 4), (4, 4, 2), (2, 4, 2), (2, 2, 2)), strict=True):
        x = up(wide * filters, 2, strides=2, name=f"decoder{level}_up", dtype=dtype)(x)
        x = layers.ReLU(name=f"decoder{level}_up_relu", dtype=dtype)(x)
        x = layers.Concatenate(name=f"decoder{level}_skip", dtype=dtype)([x, skips[level - 1]])
        x = block(block(x, first, f"decoder{level}_a"), second, f"decoder{level}_b")
    velocity, inverse_velocity = head(x, "velocity"), head(x, "inverse_velocity")
    there, back = half(velocity, 0.5, "half"), half(inverse_velocity, -0.5, "back")
    field = ComposeDisplacements(dtype="float32", name="field")(there, back)
    outputs = {"field": field, "velocity": velocity, "inverse_velocity": inverse_velocity, "half": there}
    return keras.Model({"moving": moving, "fixed": fixed}, outputs, name="symnet")
