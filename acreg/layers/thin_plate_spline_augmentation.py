"""Pairs of images that are made from one image by a random, known displacement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.layers import functional
from acreg.layers.augmentation_checks import (
    check_cells,
    check_inputs,
    check_parameters,
    check_shapes,
    is_one_hot,
    named,
    warn_of_folds,
)
from acreg.layers.grid_spline import spline_displacement
from acreg.layers.tensor import Tensor
from acreg.layers.thin_plate_spline import known_values

_GEOMETRY = ("angles", "translation", "control_displacements")


@keras.saving.register_keras_serializable("acreg")
class ThinPlateSplineAugmentation(keras.layers.Layer):
    """Makes a fixed and a moving image from one image, with a known displacement between them.

    The moving image is the image itself. The fixed image is made from it, ``fixed(p) = image(p + u(p))``, because ``u``
    is then exactly the displacement that a network should predict: warping the moving image by ``u`` gives the fixed
    image, for image and labels, except for the changes of intensity. (If the moving image were synthetic, the
    displacement to predict would be an inverse, known only up to the error of a solver.) In millimetres from the centre
    of the image, along the array axes, a point ``x`` of the fixed image corresponds to the point ``R (x + d(x)) + t``
    of the moving image: ``d`` is a thin-plate spline through random vectors at a regular grid of control points over
    the image, R is a rotation and t a translation.

    Both images are normalised to [0, 1] by their minimum and maximum, channel by channel. Then each image is raised to
    a separate random power, changed in brightness, clipped to [0, 1] and normalised again; without these changes, the
    fixed image keeps the values with which it was made. Outside the image, intensities take the edge value and labels
    are background, 0.

    Images keep their shape. The paper's layer also resizes; here `acreg.io.Preprocessing` samples each image on the
    network's grid once, before training (`data.shape` and `data.spacing` of a recipe), and ``"spacing"`` is that of
    this grid.

    Every call draws new parameters, unless ``training=False``, as in `predict` and `evaluate` of a Keras model that has
    this layer: then nothing is changed, and both images are the normalised one. The ``augmentation`` of a
    `RegistrationModel` draws for every single image, in `predict` and `evaluate`, too: it makes the pair. For fixed
    pairs, keep the result of `draw` and use `apply_parameters`.

    Args:
        max_rotation: degrees, the largest angle about each array axis (in 2-D, in the plane), at most 180.
        max_translation: mm, the greatest length of the translation.
        max_deformation: mm, the greatest length of the spline's vectors at the control points. Direction and length
            are drawn independently, the length uniformly. The spline folds if this exceeds about half of the distance
            between control points.
        control_points: 3 to 12, along each axis.
        gamma: powers are ``2^g``, ``g`` uniform in ``[-gamma, gamma]``: 1 gives powers from 0.5 to 2.
        brightness: the largest change of brightness, as a share of the range of intensities.
        spacing: mm, for images without a spacing; one number, or one for each axis.
        return_displacement: whether ``"displacement"`` is among the results.
        seed: an integer makes the draws reproducible. (On TensorFlow, XLA draws other numbers from the same seed.)

    A part whose limit is 0 is switched off.

    Call arguments:
        inputs: a dictionary with ``"image"``, ``(batch, *spatial, channels)`` in any range, and optionally
            ``"labels"``, integers ``(batch, *spatial, 1)`` or one-hot floats ``(batch, *spatial, classes)``, and
            ``"spacing"``, ``(batch, rank)`` in mm; or the image alone.
        training: whether to change the image; True if neither it nor the model around says otherwise.

    Returns:
        A dictionary: ``"fixed"`` and ``"moving"``, float32 of the image's shape; ``"fixed_labels"`` and
        ``"moving_labels"``, int32 or one-hot as given, if there are labels; and ``"displacement"``, float32
        ``(batch, *spatial, rank)`` in voxels, if requested.

    Raises:
        ValueError: when a limit is out of range, or shapes or types are wrong. Outside compiled functions and
            ``tf.data``, where values are known, also for voxels that are not finite and for spacings that are not
            positive. In compiled code, such a voxel is not refused and makes its own sample invalid.

    Example:

    >>> augment = acreg.layers.ThinPlateSplineAugmentation(max_translation=5, return_displacement=True, seed=1)
    >>> pair = augment({"image": keras.random.uniform((1, 64, 64, 64, 1))})
    >>> pair["displacement"].shape
    (1, 64, 64, 64, 3)

    Reference: Pérez de Frutos et al., Learning deep abdominal CT registration through adaptive loss weighting and
    synthetic data generation, PLOS ONE 2023, from which the default limits are.
    """

    def __init__(
        self,
        max_rotation: float = 10.0,
        max_translation: float = 30.0,
        max_deformation: float = 6.0,
        control_points: int = 8,
        gamma: float = 1.0,
        brightness: float = 0.2,
        spacing: float | Sequence[float] = 1.0,
        return_displacement: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        limits = {
            "max_rotation": (max_rotation, 180),
            "max_translation": (max_translation, np.inf),
            "max_deformation": (max_deformation, np.inf),
            "gamma": (gamma, 10),
            "brightness": (brightness, 1),
        }
        for name, (value, most) in limits.items():
            if not (np.isfinite(value) and 0 <= value <= most):
                bound = f"from 0 to {most}" if np.isfinite(most) else "of at least 0"
                raise ValueError(f"`{name}` must be a number {bound}. Received: {name}={value!r}")
        if not isinstance(control_points, int) or not 3 <= control_points <= 12:
            raise ValueError(
                f"`control_points` must be a whole number from 3 to 12. Received: control_points={control_points!r}"
            )
        sides = np.asarray(spacing, float)
        if sides.shape not in ((), (2,), (3,)) or not (np.isfinite(sides) & (sides > 0)).all():
            raise ValueError(
                "`spacing` must be a positive number of millimetres or one for each axis. "
                f"Received: spacing={spacing!r}"
            )
        super().__init__(autocast=False, **kwargs)
        self.max_rotation = max_rotation
        self.max_translation = max_translation
        self.max_deformation = max_deformation
        self.control_points = control_points
        self.gamma = gamma
        self.brightness = brightness
        self.spacing = float(sides) if sides.ndim == 0 else tuple(sides.tolist())
        self.return_displacement = return_displacement
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Mapping[str, Tensor] | Tensor, training: bool = True) -> dict[str, Tensor]:
        inputs = named(inputs)
        return self.apply_parameters(inputs, self.draw(inputs) if training else {})

    def draw(self, inputs: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
        """Random parameters for a batch, from its shape and spacing. Parts that are switched off have none.

        If the spacing is known, warns about control points that are so close that the deformation may fold the image.

        Returns:
            float32 tensors by name: ``"angles"``, ``"translation"`` and ``"control_displacements"`` as
            `acreg.layers.grid_spline.spline_displacement` takes them, and ``"gamma"`` and ``"brightness"``,
            ``(batch, 2)``: the power and the change of brightness, for the fixed and for the moving image.
        """
        inputs = named(inputs)
        check_inputs(inputs, self.spacing)
        rank = len(inputs["image"].shape) - 2
        batch = ops.shape(inputs["image"])[0]
        spacing = self._spacing(inputs)
        if self.max_deformation:
            sizes = inputs["image"].shape[1:-1]
            check_cells(sizes, self.control_points)
            warn_of_folds(sizes, spacing, self.control_points, self.max_deformation)

        def uniform(limit: float, *shape: int) -> Tensor:
            return keras.random.uniform((batch, *shape), -limit, limit, dtype="float32", seed=self.seed_generator)

        def vectors(limit: float, *shape: int) -> Tensor:
            direction = keras.random.normal((batch, *shape, rank), dtype="float32", seed=self.seed_generator)
            length = ops.sqrt(ops.sum(direction**2, axis=-1, keepdims=True))
            return direction / ops.maximum(length, 1e-6) * uniform(limit, *shape, 1)

        drawn = {}
        if self.max_rotation:
            drawn["angles"] = uniform(self.max_rotation, 3 if rank == 3 else 1)
        if self.max_translation:
            drawn["translation"] = vectors(self.max_translation)
        if self.max_deformation:
            drawn["control_displacements"] = vectors(self.max_deformation, *(self.control_points,) * rank)
        if self.gamma:
            drawn["gamma"] = 2.0 ** uniform(self.gamma, 2)
        if self.brightness:
            drawn["brightness"] = uniform(self.brightness, 2)
        return drawn

    def apply_parameters(
        self, inputs: Mapping[str, Tensor] | Tensor, parameters: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The result of a call for given parameters, as returned by `draw`; parts without parameters are off."""
        inputs = named(inputs)
        check_inputs(inputs, self.spacing)
        image = ops.convert_to_tensor(inputs["image"])
        rank = len(image.shape) - 2
        spacing = self._spacing(inputs)
        finite = known_values(ops.all(ops.isfinite(image)))
        if finite is not None and not finite:
            raise ValueError(
                "`image` must have finite voxels only. Received: NaN or infinity in a batch of shape "
                f"{tuple(image.shape)}. Replace them in the preprocessing."
            )
        check_parameters(parameters, image.shape[0], rank)
        parameters = {name: ops.cast(value, "float32") for name, value in parameters.items()}

        moving = _normalise(ops.cast(image, "float32"))
        geometry = {name: parameters[name] for name in _GEOMETRY if name in parameters}
        displacement = (
            spline_displacement(functional.spatial_shape(image), ops.cast(spacing, "float32"), **geometry)
            if geometry
            else None
        )
        fixed = moving if displacement is None else functional.warp(moving, displacement)
        result = {"fixed": _intensity(fixed, parameters, 0), "moving": _intensity(moving, parameters, 1)}
        if "labels" in inputs:
            given = ops.convert_to_tensor(inputs["labels"])
            one_hot = is_one_hot(given)
            labels = ops.argmax(given, axis=-1)[..., None] if one_hot else given
            labels = ops.cast(labels, "int32")
            moved = labels if displacement is None else functional.warp(labels, displacement, "nearest", "constant")
            for name, value in (("fixed_labels", moved), ("moving_labels", labels)):
                result[name] = ops.one_hot(value[..., 0], given.shape[-1], dtype="float32") if one_hot else value
        if self.return_displacement:
            zero = ops.zeros((*ops.shape(image)[:-1], rank), "float32")
            result["displacement"] = zero if displacement is None else displacement
        return result

    def compute_output_spec(
        self, inputs: Mapping[str, Tensor] | Tensor, training: bool = True
    ) -> dict[str, keras.KerasTensor]:
        inputs = named(inputs)
        check_inputs(inputs, self.spacing)
        shapes = self.compute_output_shape({name: value.shape for name, value in inputs.items()})
        whole = "labels" in inputs and not is_one_hot(inputs["labels"])
        return {
            name: keras.KerasTensor(shape, dtype="int32" if whole and name.endswith("labels") else "float32")
            for name, shape in shapes.items()
        }

    def compute_output_shape(
        self, input_shape: Mapping[str, Sequence[int | None]] | Sequence[int | None]
    ) -> dict[str, tuple[int | None, ...]]:
        input_shape = named(input_shape)
        check_shapes(input_shape, self.spacing)
        image = tuple(input_shape["image"])
        shapes = {"fixed": image, "moving": image}
        if "labels" in input_shape:
            labels = (*image[:-1], input_shape["labels"][-1])
            shapes |= {"fixed_labels": labels, "moving_labels": labels}
        if self.return_displacement:
            shapes["displacement"] = (*image[:-1], len(image) - 2)
        return shapes

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_rotation": self.max_rotation,
            "max_translation": self.max_translation,
            "max_deformation": self.max_deformation,
            "control_points": self.control_points,
            "gamma": self.gamma,
            "brightness": self.brightness,
            "spacing": self.spacing,
            "return_displacement": self.return_displacement,
            "seed": self.seed,
        }

    def _spacing(self, inputs: Mapping[str, Tensor]) -> Tensor:
        rank = len(inputs["image"].shape) - 2
        spacing = inputs.get("spacing", np.broadcast_to(np.array(self.spacing, "float32"), (1, rank)))
        sides = known_values(spacing)
        if sides is not None and not (np.isfinite(sides) & (sides > 0)).all():
            raise ValueError(f"`spacing` must be positive millimetres. Received: spacing={sides.tolist()}")
        return spacing


def _normalise(image: Tensor) -> Tensor:
    """Minimum 0 and maximum 1 in each channel of each sample; a constant channel becomes 0."""
    axes = tuple(range(1, len(image.shape) - 1))
    low, high = ops.min(image, axis=axes, keepdims=True), ops.max(image, axis=axes, keepdims=True)
    return (image - low) / ops.where(high > low, high - low, 1.0)


def _intensity(image: Tensor, parameters: Mapping[str, Tensor], which: int) -> Tensor:
    """Power, brightness, clip, normalise; with the parameters of column ``which``."""
    if not {"gamma", "brightness"} & set(parameters):
        return image
    shape = (-1,) + (1,) * (len(image.shape) - 1)
    if "gamma" in parameters:
        image = ops.power(image, ops.reshape(parameters["gamma"][:, which], shape))
    if "brightness" in parameters:
        image = image + ops.reshape(parameters["brightness"][:, which], shape)
    return _normalise(ops.clip(image, 0.0, 1.0))
