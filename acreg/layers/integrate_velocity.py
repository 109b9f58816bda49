"""The exponential of a stationary velocity field as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from acreg.layers import functional
from acreg.layers.tensor import Tensor


@keras.saving.register_keras_serializable("acreg")
class IntegrateVelocity(keras.layers.Layer):
    """Integrates a stationary velocity over unit time by scaling and squaring.

    The result is (up to discretisation) a diffeomorphism, whose inverse is the exponential of the negated velocity.

    Args:
        steps: number of squarings, at least 0; with 0, the velocity itself is the displacement.

    Call arguments:
        velocity: ``(batch, *spatial, rank)``, voxels per unit of time.

    Returns:
        The displacement, ``(batch, *spatial, rank)``, voxels, float32.

    Raises:
        ValueError: when ``steps`` is not an integer of at least 0, or the input is not a field.

    Reference: Arsigny et al., A Log-Euclidean Framework for Statistics on Diffeomorphisms, MICCAI 2006.
    """

    def __init__(self, steps: int = 7, **kwargs: Any) -> None:
        if not isinstance(steps, int) or steps < 0:
            raise ValueError(f"`steps` must be a whole number of at least 0. Received: steps={steps!r}")
        super().__init__(autocast=False, **kwargs)
        self.steps = steps

    def call(self, velocity: Tensor) -> Tensor:
        functional.check_field("velocity", velocity.shape)
        return functional.integrate(velocity, self.steps)

    def compute_output_spec(self, velocity: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(velocity.shape), dtype="float32")

    def compute_output_shape(self, velocity_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        functional.check_field("velocity", velocity_shape)
        return tuple(velocity_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps}
