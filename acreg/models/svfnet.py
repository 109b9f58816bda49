"""SVF-Net: a network that learns velocities that were computed from shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from acreg.layers import functional
from acreg.layers.tensor import Tensor
from acreg.losses import Loss
from acreg.models.blocks import check_rank, convolution, normalisation
from acreg.models.registration_model import RegistrationModel

VELOCITY = "velocity_error"
FAR = 0.1
"""Weight of the error beyond the ``margin`` of `SVFNet`."""


@keras.saving.register_keras_serializable("acreg")
class SVFNet(RegistrationModel):
    """Predicts a stationary velocity, trained on reference velocities of pairs.

    The loss ``velocity_error`` compares the prediction with ``"velocity"`` among the training inputs, ``(batch,
    *spatial, rank)`` in voxels of the fixed image; other losses may be added. It is left out for inputs without a
    velocity, as in validation.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        filters: number of filters of each level, finest first; each level after the first halves the grid.
        in_plane_levels: number of levels, starting with the finest, that process each slice separately: their kernels
            and the pooling after them have size 1 along the first axis, for images with thick slices. 0 for isotropic
            images and in 2-D.
        norm: ``"batch"``, or ``"group"`` for batches of one pair.
        margin: distance in voxels from the labels of the fixed image up to which the error has full weight; beyond, it
            has a tenth. Most of an image is far from the shapes from which the velocities are computed, and the
            velocities there are large and uncertain. None weights all voxels equally, as in the paper.
        integration_steps: see `RegistrationModel`.
        **kwargs: ``losses``, ``num_classes`` and the other options of `RegistrationModel`. The default losses are
            ``{"velocity_error": 1}``.

    Call arguments and result: see `RegistrationModel`.

    Raises:
        ValueError: an unsupported rank or norm, fewer than two levels, more in-plane levels than levels, in-plane
            levels in 2-D, a negative margin or a margin without labels, no integration, or an unknown loss.

    Source: Rohe et al., SVF-Net: learning deformable image registration using shape matching, MICCAI 2017. Details that
    the paper does not give: two convolutions of width 3 per level, each followed by normalisation and ReLU; upsampling
    by transposed convolutions; the error is the mean over voxels of the squared length of the difference.

    Example:

    >>> model = acreg.models.SVFNet(rank=3, in_plane_levels=2, num_classes=5)
    >>> model.compile(optimizer=keras.optimizers.Adam(1e-4))
    >>> model.fit(acreg.data.tf_pairs(sampler), steps_per_epoch=100)
    """

    DEFAULT_LOSSES: Mapping[str, float] = {VELOCITY: 1.0}

    def __init__(
        self,
        rank: int = 3,
        channels: int = 1,
        filters: Sequence[int] = (32, 64, 128, 256),
        in_plane_levels: int = 0,
        norm: str = "batch",
        margin: int | None = None,
        integration_steps: int = 7,
        **kwargs: Any,
    ) -> None:
        filters = tuple(filters)
        check_rank(rank)
        if len(filters) < 2 or not 0 <= in_plane_levels <= len(filters) or (rank == 2 and in_plane_levels):
            raise ValueError(
                "`filters` must have at least two levels, and `in_plane_levels` at most as many, none in 2-D. "
                f"Received: filters={filters}, in_plane_levels={in_plane_levels}, rank={rank}"
            )
        if norm not in ("group", "batch"):
            raise ValueError(f"`norm` must be 'group' or 'batch'. Received: norm={norm!r}")
        if margin is not None and margin < 0:
            raise ValueError(f"`margin` must be a number of voxels. Received: margin={margin}")
        if integration_steps < 1:
            raise ValueError(f"A velocity must be integrated. Received: integration_steps={integration_steps}")
        network = svf_network(rank, channels, filters, in_plane_levels, norm, kwargs.get("dtype"))
        super().__init__(
            network,
            multiple=2 ** (len(filters) - 1),
            integration_steps=integration_steps,
            own_losses=[Loss(VELOCITY, ("true_velocity", "velocity", "inputs"), self._velocity_error)],
            **kwargs,
        )
        self.filters = filters
        self.in_plane_levels = in_plane_levels
        self.norm = norm
        self.margin = margin

    def _velocity_error(self, true: Tensor, velocity: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        error = self._to_image_grid(velocity, functional.spatial_shape(true)) - ops.cast(true, "float32")
        squared = ops.sum(ops.square(error), axis=-1, keepdims=True)
        weight = ops.ones_like(squared) if self.margin is None else self._near(inputs)
        return ops.sum(weight * squared) / ops.sum(weight)

    def _near(self, x: Mapping[str, Tensor]) -> Tensor:
        """The weight of each voxel according to `margin`: ``(batch, *spatial, 1)``."""
        if "fixed_labels" not in x:
            raise ValueError(f"`margin` is around labels. Received: margin={self.margin} and inputs without them")
        near = ops.cast(x["fixed_labels"] > 0, "float32")
        for axis in range(self.rank):
            window = [1] * self.rank
            window[axis] = 2 * (self.margin or 0) + 1
            near = ops.max_pool(near, tuple(window), strides=1, padding="same")
        return FAR + (1 - FAR) * near

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "channels": self.channels,
            "filters": self.filters,
            "in_plane_levels": self.in_plane_levels,
            "norm": self.norm,
            "margin": self.margin,
        }


def svf_network(
    rank: int, channels: int, filters: Sequence[int], in_plane_levels: int, norm: str, dtype: Any = None
) -> keras.Model:
    """A U-Net from ``[moving, fixed]`` to a velocity on the same grid, whose finest levels may be in-plane.

    Returns:
        A functional model ``{"moving", "fixed"} -> {"field"}``, see `SVFNet`; sizes are multiples of
        ``2 ** (len(filters) - 1)``, and across slices of ``2 ** (len(filters) - 1 - in_plane_levels)``.
    """

    def widths(level: int, wide: int) -> tuple[int, ...]:
        return (1 if level < in_plane_levels else wide,) + (wide,) * (rank - 1)

    def block(x: keras.KerasTensor, level: int, name: str) -> keras.KerasTensor:
        for part in "ab":
            x = convolution(rank, filters[level], widths(level, 3), use_bias=False, name=f"{name}_{part}", dtype=dtype)(
                x
            )
            x = normalisation(norm, filters[level], name=f"{name}_{part}_norm", dtype=dtype)(x)
            x = layers.ReLU(name=f"{name}_{part}_relu", dtype=dtype)(x)
        return x

    pool = {2: layers.MaxPooling2D, 3: layers.MaxPooling3D}[rank]
    up = {2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}[rank]
    # The functional graph
    shape = (None,) * rank + (channels,)
    moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
    x = layers.Concatenate(name="pair", dtype=dtype)([moving, fixed])
    skips = []
    for level in range(len(filters)):
        if level:
            size = widths(level - 1, 2)
            # TensorFlow has none in float16 on the CPU
            x = pool(size, name=f"encoder{level + 1}_pool", dtype="float32" if rank == 3 else dtype)(x)
        x = block(x, level, f"encoder{level + 1}")
        skips.append(x)
    for level in range(len(filters) - 2, -1, -1):
        size = widths(level, 2)
        x = up(filters[level], size, strides=size, name=f"decoder{level + 1}_up", dtype=dtype)(x)
        x = layers.Concatenate(name=f"decoder{level + 1}_skip", dtype=dtype)([x, skips[level]])
        x = block(x, level, f"decoder{level + 1}")
    small = keras.initializers.RandomNormal(stddev=1e-5)
    x = convolution(rank, rank, widths(0, 3), kernel_initializer=small, name="head", dtype=dtype)(x)
    x = layers.Activation("linear", dtype="float32", name="field")(x)
    return keras.Model({"moving": moving, "fixed": fixed}, {"field": x}, name="svf_network")
