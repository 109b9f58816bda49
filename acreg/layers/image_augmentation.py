"""Random changes of training images in the graph of a model, on its device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.layers import functional
from acreg.layers.grid_spline import cubic
from acreg.layers.tensor import Tensor
from acreg.layers.whole_numbers import floats

PARTS = {"image": "labels", "moving": "moving_labels", "fixed": "fixed_labels"}
"""Images among the inputs, and their labels."""
KNOWN = ("displacement", "velocity")
"""Inputs that would be wrong after the images are moved."""
BIAS_POINTS = 4


@keras.saving.register_keras_serializable("acreg")
class ImageAugmentation(keras.layers.Layer):
    """Moves and changes each image of a batch at random, with its labels: `acreg.data.Augmentation` as a layer.

    With the rotation R, the shear H, the scale s, the centre c, the shift t and the elastic displacement e, voxel p
    is sampled at c + R H (p - c) / (1 + s) - t + e(p); images linearly, labels by the nearest voxel. Intensities follow
    in the order of the arguments. Rotation and shear assume isotropic voxels.

    Args:
        gamma: raises the image to the power exp(g), with g uniform in [-gamma, gamma].
        contrast: multiplies the difference from the image's mean by 1 + c, with c uniform in [-contrast, contrast].
        bias_field: multiplies by exp(b), where b is a smooth random field with this standard deviation.
        noise: adds independent Gaussian noise with a standard deviation uniform in [0, noise].
        invert: the probability of inverted grey values.
        rotation: the largest angle in radians, in 3-D about each axis; or one about each of three axes.
        scale: multiplies the size by 1 + s, with s uniform in [-scale, scale].
        shear: voxels per voxel along each later axis, at most.
        shift: along each axis, a share of the image's size, at most.
        elastic: standard deviation of a smooth random displacement, a share of the image's size.
        elastic_grid: number of control points of that displacement along each axis.
        outside: label of voxels from outside the image; None for the label at its edge.
        seed: an integer makes the draws reproducible.

    A part that is 0 is switched off.

    Call arguments:
        inputs: an image ``(batch, *spatial, channels)``, floats in [0, 1], or uint8 or uint16, which are divided by
            255 or 65535; or a dictionary of ``"image"``, ``"moving"`` and ``"fixed"``, each with its labels
            (``"labels"``, ``"moving_labels"``, ``"fixed_labels"``, integers ``(batch, *spatial, 1)``) or without. Each
            image is changed in its own way; other entries stay.
        training: whether to change anything; True if neither it nor the model around says otherwise.

    Returns:
        What was given, images as float32 in [0, 1].

    Raises:
        ValueError: no image, another rank, a field that would no longer fit the images, or a limit for
            three axes and images of two.

    Example:

    >>> augment = acreg.layers.ImageAugmentation(gamma=0.3, rotation=0.1, seed=1)
    >>> augment(keras.random.uniform((2, 32, 32, 1))).shape
    (2, 32, 32, 1)
    """

    def __init__(
        self,
        gamma: float = 0.0,
        contrast: float = 0.0,
        bias_field: float = 0.0,
        noise: float = 0.0,
        invert: float = 0.0,
        rotation: float | Sequence[float] = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        shift: float = 0.0,
        elastic: float = 0.0,
        elastic_grid: int = 4,
        outside: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._limits: dict[str, Any] = {
            "gamma": gamma,
            "contrast": contrast,
            "bias_field": bias_field,
            "noise": noise,
            "invert": invert,
            "rotation": tuple(rotation) if isinstance(rotation, (list, tuple)) else rotation,
            "scale": scale,
            "shear": shear,
            "shift": shift,
            "elastic": elastic,
        }
        for name, value in self._limits.items():
            if not np.all(np.isfinite(value)) or np.min(value) < 0:
                raise ValueError(f"`{name}` must be a number of at least 0. Received: {name}={value!r}")
        super().__init__(autocast=False, **kwargs)
        self.elastic_grid, self.outside, self.seed = elastic_grid, outside, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    @property
    def geometric(self) -> bool:
        """Whether any part moves voxels."""
        return any(np.any(self._limits[name]) for name in ("rotation", "scale", "shear", "shift", "elastic"))

    def call(self, inputs: Mapping[str, Tensor] | Tensor, training: bool = True) -> Any:
        if not isinstance(inputs, Mapping):
            return self.call({"image": inputs}, training)["image"]
        roles = [role for role in PARTS if role in inputs]
        if not roles or (self.geometric and any(name in inputs for name in KNOWN)):
            raise ValueError(
                f"The augmentation changes {', '.join(PARTS)} and their labels; a field between them would not be that "
                f"of the changed images. Received: {sorted(inputs)}"
            )
        changed = dict(inputs)
        for role in roles:
            image, labels = floats(inputs[role]), inputs.get(PARTS[role])
            if training:
                image, labels = self.apply_parameters(image, labels, self.draw(image))
            changed[role] = image
            if labels is not None:
                changed[PARTS[role]] = labels
        return changed

    def draw(self, image: Tensor) -> dict[str, Tensor]:
        """Random parameters for a batch of images: float32 tensors by the name of the part, none for one that is off.

        ``"rotation"`` and ``"shear"`` are ``(batch, n)``, a value for each pair of axes; ``"shift"`` is
        ``(batch, rank)``, a share of the size; ``"elastic"``, ``(batch, rank, *points)``, and ``"bias_field"``,
        ``(batch, *points)``, are standard normal control values; ``"noise"`` has the shape of the image; others are
        ``(batch,)``.
        """
        spatial = _sizes(image)
        rank, batch, limits = len(spatial), ops.shape(image)[0], self._limits
        planes = list(combinations(range(rank), 2))

        def uniform(limit: float, *shape: int) -> Tensor:
            return keras.random.uniform((batch, *shape), -limit, limit, dtype="float32", seed=self.seed_generator)

        def normal(*shape: int) -> Tensor:
            return keras.random.normal((batch, *shape), dtype="float32", seed=self.seed_generator)

        drawn: dict[str, Tensor] = {}
        if np.any(limits["rotation"]):
            drawn["rotation"] = ops.stack([uniform(self._angle(rank, *plane)) for plane in planes], axis=1)
        if limits["shear"]:
            drawn["shear"] = uniform(limits["shear"], len(planes))
        if limits["shift"]:
            drawn["shift"] = uniform(limits["shift"], rank)
        for name in ("scale", "gamma", "contrast"):
            if limits[name]:
                drawn[name] = uniform(limits[name])
        if limits["elastic"]:
            drawn["elastic"] = normal(rank, *(self.elastic_grid + 2,) * rank)
        if limits["bias_field"]:
            drawn["bias_field"] = normal(*(BIAS_POINTS + 2,) * rank)
        if limits["noise"]:
            level = ops.reshape(ops.abs(uniform(limits["noise"])), (-1, *(1,) * (rank + 1)))
            drawn["noise"] = normal(*spatial, image.shape[-1]) * level
        if limits["invert"]:
            drawn["invert"] = ops.cast(uniform(0.5) + 0.5 < limits["invert"], "float32")
        return drawn

    def apply_parameters(
        self, image: Tensor, labels: Tensor | None, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The images and labels for given parameters, as returned by `draw`; parts without parameters are off."""
        image = floats(image)
        displacement = self.displacement(_sizes(image), parameters)
        if displacement is not None:
            image = functional.warp(image, displacement)
            if labels is not None:
                border = "edge" if self.outside is None else "constant"
                labels = functional.warp(labels, displacement, "nearest", border, self.outside or 0)
        if not {"gamma", "contrast", "bias_field", "noise", "invert"} & set(parameters):
            return image, labels
        axes, each = tuple(range(1, len(image.shape))), (-1, *(1,) * (len(image.shape) - 1))
        image = ops.clip(image, 0.0, 1.0)
        if "gamma" in parameters:
            image = ops.power(image, ops.exp(ops.reshape(parameters["gamma"], each)))
        if "contrast" in parameters:
            mean = ops.mean(image, axis=axes, keepdims=True)
            image = mean + (image - mean) * (1.0 + ops.reshape(parameters["contrast"], each))
        if "bias_field" in parameters:
            field = _smooth(parameters["bias_field"][:, None], _sizes(image), BIAS_POINTS)[:, 0]
            image = image * ops.exp(self._limits["bias_field"] * field)[..., None]
        if "noise" in parameters:
            image = image + parameters["noise"]
        image = ops.clip(image, 0.0, 1.0)
        if "invert" in parameters:
            inverted = ops.reshape(parameters["invert"], each)
            image = image + inverted * (1.0 - 2.0 * image)
        return image, labels

    def displacement(self, spatial: Sequence[int | Tensor], parameters: Mapping[str, Tensor]) -> Tensor | None:
        """How far each voxel of the result lies from where it is sampled, ``(batch, *spatial, rank)``; None for 0."""
        moved = [parameters[name] for name in ("rotation", "shear", "scale", "shift", "elastic") if name in parameters]
        if not moved:
            return None
        rank, batch = len(spatial), ops.shape(moved[0])[0]
        matrix = ops.tile(ops.eye(rank)[None], (batch, 1, 1))
        planes = list(combinations(range(rank), 2))
        for n, (first, second) in enumerate(planes if "rotation" in parameters else ()):
            angle = parameters["rotation"][:, n]
            matrix = ops.matmul(_plane(rank, first, second, ops.cos(angle), ops.sin(angle)), matrix)
        if "shear" in parameters:
            slant = ops.eye(rank)[None]
            for n, (first, second) in enumerate(planes):
                slant = slant + parameters["shear"][:, n, None, None] * _unit(rank, first, second)
            matrix = ops.matmul(matrix, slant)
        if "scale" in parameters:
            matrix = matrix / (1.0 + parameters["scale"][:, None, None])
        sizes = ops.stack([ops.cast(n, "float32") for n in spatial])
        places = ops.meshgrid(*[ops.arange(n, dtype="float32") for n in spatial], indexing="ij")
        flat = ops.reshape(ops.stack(places, -1), (1, -1, rank)) - (sizes - 1) / 2
        change = ops.matmul(flat, ops.transpose(matrix - ops.eye(rank), (0, 2, 1)))
        if "shift" in parameters:
            change = change - (parameters["shift"] * sizes)[:, None]
        change = ops.reshape(change, (-1, *spatial, rank))
        if "elastic" in parameters:
            field = _smooth(parameters["elastic"], spatial, self.elastic_grid)
            change = change + self._limits["elastic"] * sizes * ops.moveaxis(field, 1, -1)
        return change

    def _angle(self, rank: int, first: int, second: int) -> float:
        """The limit of the rotation in the plane of two axes."""
        limit = self._limits["rotation"]
        if not isinstance(limit, tuple):
            return float(limit)
        if len(limit) != rank or rank != 3:
            raise ValueError(f"`rotation` must be one number for images of rank {rank}. Received: rotation={limit}")
        return float(limit[3 - first - second])

    def compute_output_spec(self, inputs: Mapping[str, Tensor] | Tensor, training: bool = True) -> Any:
        if not isinstance(inputs, Mapping):
            return keras.KerasTensor(inputs.shape, dtype="float32")
        return {
            name: keras.KerasTensor(x.shape, dtype="float32" if name in PARTS else x.dtype)
            for name, x in inputs.items()
        }

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        more = {"elastic_grid": self.elastic_grid, "outside": self.outside, "seed": self.seed}
        return {**super().get_config(), **self._limits, **more}


def _sizes(image: Tensor) -> tuple[int | Tensor, ...]:
    """The spatial sizes of a batch of images."""
    if len(image.shape) not in (4, 5):
        raise ValueError(
            "An image to augment must have shape (batch, *spatial, channels) with 2 or 3 sizes. Received: "
            f"shape={tuple(image.shape)}"
        )
    return functional.spatial_shape(image)


def _unit(rank: int, row: int, column: int) -> np.ndarray:
    """A matrix that is 0 but for one element, which is 1."""
    unit = np.zeros((rank, rank), np.float32)
    unit[row, column] = 1.0
    return unit


def _plane(rank: int, first: int, second: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotations in the plane of two axes, ``(batch, rank, rank)``."""
    still = np.diag([float(axis not in (first, second)) for axis in range(rank)]).astype(np.float32)
    along = _unit(rank, first, first) + _unit(rank, second, second)
    across = _unit(rank, second, first) - _unit(rank, first, second)
    return still + cos[:, None, None] * along + sin[:, None, None] * across


def _smooth(values: Tensor, spatial: Sequence[int | Tensor], points: int) -> Tensor:
    """Smooth fields ``(batch, n, *spatial)`` from their control values ``(batch, n, *points)``."""
    for axis, size in enumerate(spatial):
        moved = ops.moveaxis(values, 2 + axis, -1)
        values = ops.moveaxis(ops.matmul(moved, ops.transpose(_basis(size, points))), -1, 2 + axis)
    return values


def _basis(size: int | Tensor, points: int) -> Tensor:
    """Cubic B-splines ``(size, points + 2)`` at the voxels of an axis, each row of norm one."""
    position = (ops.arange(size, dtype="float32") + 0.5) / ops.cast(size, "float32") * (points - 1)
    weights = cubic(position[:, None] - np.arange(-1, points + 1, dtype=np.float32))
    return weights / ops.sqrt(ops.sum(weights**2, axis=1, keepdims=True))
