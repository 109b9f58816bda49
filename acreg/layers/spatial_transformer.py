"""Warping of images as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from acreg.layers import functional
from acreg.layers.tensor import Tensor
from acreg.layers.warping import BORDERS, INTERPOLATIONS, warped_dtype


@keras.saving.register_keras_serializable("acreg")
class SpatialTransformer(keras.layers.Layer):
    """Warps an image by a displacement: ``warped(p) = image(p + u(p))``.

    It works in 2-D and 3-D, for any number of channels, with voxel centres at integer positions. Positions and
    weights are computed in float32 under every dtype policy.

    Args:
        interpolation: ``"linear"`` or ``"nearest"``. Nearest has no gradient with respect to the displacement: use it
            for label maps when nothing is being trained.
        border: ``"edge"`` (a sample outside takes the nearest edge value) or ``"constant"``.
        fill_value: value outside when ``border="constant"``.

    Call arguments:
        image: ``(batch, *spatial, channels)``.
        displacement: ``(batch, *grid, rank)`` in voxels of the image's grid, component ``d`` along array axis ``d``.

    Returns:
        ``(batch, *grid, channels)``, dtype of ``image``; float32 for linear interpolation of an integer image.

    Raises:
        ValueError: when ranks or batch sizes do not match, or an option is unknown.

    Example:

    >>> moving = keras.random.uniform((1, 64, 64, 1))
    >>> displacement = keras.ops.zeros((1, 64, 64, 2))
    >>> acreg.layers.SpatialTransformer()(moving, displacement).shape
    (1, 64, 64, 1)

    Reference: Jaderberg et al., Spatial Transformer Networks, NeurIPS 2015.
    """

    def __init__(
        self, interpolation: str = "linear", border: str = "edge", fill_value: float = 0.0, **kwargs: Any
    ) -> None:
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"`interpolation` must be one of {INTERPOLATIONS}. Received: interpolation={interpolation!r}"
            )
        if border not in BORDERS:
            raise ValueError(f"`border` must be one of {BORDERS}. Received: border={border!r}")
        super().__init__(autocast=False, **kwargs)
        self.interpolation = interpolation
        self.border = border
        self.fill_value = fill_value

    def call(self, image: Tensor, displacement: Tensor = None) -> Tensor:
        image, displacement = functional.two(("image", "displacement"), image, displacement)
        self._check(image.shape, displacement.shape)
        return functional.warp(image, displacement, self.interpolation, self.border, self.fill_value)

    def compute_output_spec(self, image: Tensor, displacement: Tensor = None) -> keras.KerasTensor:
        image, displacement = functional.two(("image", "displacement"), image, displacement)
        shape = self.compute_output_shape(image.shape, displacement.shape)
        return keras.KerasTensor(shape, dtype=warped_dtype(image.dtype, self.interpolation))

    def compute_output_shape(
        self, image_shape: Sequence[Any], displacement_shape: Sequence[int | None] | None = None
    ) -> tuple[int | None, ...]:
        image_shape, displacement_shape = functional.two(("image", "displacement"), image_shape, displacement_shape)
        self._check(image_shape, displacement_shape)
        return (*displacement_shape[:-1], image_shape[-1])

    def _check(self, image: Tensor, displacement: Tensor) -> None:
        functional.check_field("displacement", displacement)
        if len(image) != len(displacement):
            raise ValueError(
                "`image` and `displacement` must have the same number of spatial axes. "
                f"Received: image.shape={tuple(image)}, displacement.shape={tuple(displacement)}"
            )
        if not functional.sizes_agree(image[:1], displacement[:1]):
            raise ValueError(
                "`image` and `displacement` must have the same batch size. "
                f"Received: image.shape={tuple(image)}, displacement.shape={tuple(displacement)}"
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "interpolation": self.interpolation,
            "border": self.border,
            "fill_value": self.fill_value,
        }
