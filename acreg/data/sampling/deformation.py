"""A known rotation, translation and deformation of a 2-D image, for training JRS-Net.

The original is the fixed image, its copy the moving image. A point of the original is mapped by a
translation, a rotation about the centre of the image and a B-spline deformation, in this order, to its position in the
copy. The displacement from fixed to moving is therefore known in closed form, exactly at every voxel. The copy is
sampled by the inverse, which is found by iteration to within 0.001 voxels. `RandomDeformation` draws a `Deformation`,
which can be stored as JSON and applied again.

Source: Mahapatra et al., Joint registration and segmentation of X-ray images using generative adversarial networks.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass
from scipy import ndimage

from acreg.data.sampling.augmentation import sample_linear, sample_nearest
from acreg.errors import AcregError
from acreg.geometry.displacement import voxel_indices

REFERENCE_WIDTH = 512
"""Number of columns of the image in whose voxels the limits of the paper are read; the paper gives no size."""
INJECTIVE = 0.48
"""Control values up to this share of the control points' spacing cannot fold (Choi & Lee, Graphical Models 62, 2000).

Their bound on the sum of a component's slopes along both axes is also what makes the inverse's iteration converge."""

Range = tuple[FiniteFloat, FiniteFloat]
"""The smallest and the largest value."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Deformation:
    """The mapping of the points of an image with a given shape.

    Point `p` goes to `y + e(y)` with `y = R (p + translation - c) + c`, `c` the centre of the image and `e` the uniform
    cubic B-spline of the control values, continued beyond the image by its value at the border.

    Args:
        shape: rows and columns.
        translation: voxels along each axis.
        rotation: degrees from axis 0 towards axis 1.
        spacing: voxels between control points; the first one lies one spacing before the first voxel.
        control: `(rows, columns, 2)` voxels, enough of them to reach one spacing beyond the last voxel.

    Raises:
        pydantic.ValidationError: too few or too many control points, or one that may fold the image.
    """

    shape: tuple[int, int]
    translation: tuple[FiniteFloat, FiniteFloat]
    rotation: FiniteFloat
    spacing: Annotated[FiniteFloat, Field(gt=0)]
    control: tuple[tuple[tuple[FiniteFloat, FiniteFloat], ...], ...]

    @model_validator(mode="after")
    def _check(self) -> Deformation:
        if min(self.shape) < 2:
            raise ValueError(f"an image that is deformed has at least 2 voxels along each axis, not {self.shape}")
        needed = control_shape(self.shape, self.spacing)
        found = (len(self.control), *{len(row) for row in self.control})
        if found != needed:
            raise ValueError(f"{self.shape} at spacing {self.spacing:g} needs {needed} control points, not {found}")
        largest = float(np.abs(self.control).max())
        if largest >= INJECTIVE * self.spacing:
            raise ValueError(
                f"control values must be below {INJECTIVE} of their spacing {self.spacing:g}, so that nothing folds, "
                f"not {largest:g}"
            )
        return self

    def to_json(self) -> str:
        """The complete deformation as JSON, without loss."""
        return TypeAdapter(Deformation).dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Deformation:
        """The deformation from the output of `to_json`.

        Raises:
            pydantic.ValidationError: the text is not that of a deformation.
        """
        return TypeAdapter(Deformation).validate_json(text)

    @cached_property
    def displacement(self) -> NDArray[np.float32]:
        """From fixed to moving, `(rows, columns, 2)`, voxels: `fixed(p) = moving(p + displacement(p))`."""
        voxels = voxel_indices(self.shape)
        turned = (voxels + self.translation - self._centre) @ self._rotation.T + self._centre
        return (turned + self._elastic(turned) - voxels).astype(np.float32)

    @cached_property
    def origins(self) -> NDArray[np.float64]:
        """The points in the fixed image from which the moving voxels come, `(rows, columns, 2)`, voxels."""
        voxels = voxel_indices(self.shape)
        turned = voxels - self._elastic(voxels)
        for _ in range(1000):  # each step reduces the error to 98 % at worst, and to 48 % with the default limits
            step = voxels - self._elastic(turned) - turned
            turned = turned + step
            if np.abs(step).max() < 1e-3:
                break
        return (turned - self._centre) @ self._rotation + self._centre - self.translation

    @property
    def inverse_displacement(self) -> NDArray[np.float32]:
        """From moving to fixed, `(rows, columns, 2)`, voxels: `moving(q) = fixed(q + inverse_displacement(q))`."""
        return (self.origins - voxel_indices(self.shape)).astype(np.float32)

    def apply(self, image: np.ndarray) -> NDArray[np.float32]:
        """The moving image of an image `(rows, columns, channels)`, linearly; its edge value beyond the border.

        Raises:
            AcregError: an image has a different shape.
        """
        self._check_shape(image)
        return sample_linear(image[None], self._coordinates)[0]

    def apply_labels(self, labels: np.ndarray) -> np.ndarray:
        """The moving labels of labels `(rows, columns, 1)`, by nearest; 0 beyond the border.

        Raises:
            AcregError: labels have a different shape.
        """
        self._check_shape(labels)
        return sample_nearest(labels[None], self._coordinates, outside=0)[0]

    @property
    def _coordinates(self) -> NDArray[np.float64]:
        return np.moveaxis(self.origins, -1, 0)[:, None]

    @property
    def _centre(self) -> NDArray[np.float64]:
        return (np.array(self.shape) - 1.0) / 2.0

    @property
    def _rotation(self) -> NDArray[np.float64]:
        angle = np.deg2rad(self.rotation)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def _elastic(self, points: np.ndarray) -> NDArray[np.float64]:
        """The B-spline at points `(rows, columns, 2)`."""
        inside = np.clip(points, 0.0, np.array(self.shape) - 1.0)
        at = np.moveaxis(inside / self.spacing + 1.0, -1, 0)
        control = np.moveaxis(np.array(self.control), -1, 0)
        return np.stack([ndimage.map_coordinates(c, at, order=3, prefilter=False) for c in control], axis=-1)

    def _check_shape(self, array: np.ndarray) -> None:
        if array.ndim != 3 or array.shape[:2] != self.shape:
            raise AcregError(
                f"A deformation drawn for images of {self.shape} moves arrays (rows, columns, channels) of that shape. "
                f"Received: shape {array.shape}. Resize the image, or draw another deformation."
            )


class RandomDeformation(BaseModel):
    """Draws deformations after which a mask has little overlap with itself. Lengths are voxels of a 512-column image.

    As in the paper, the Dice of the complete foreground before and after must be below `largest_dice`; otherwise,
    another deformation is drawn. After `draws` attempts, the strongest deformation is used, with a warning, so that
    training does not stop because of a mask that fills its image.

    Args:
        translation: limits of the translation along one axis, in either direction.
        rotation: limits of the angle in degrees, in either direction, in multiples of `rotation_step`.
        rotation_step: degrees.
        elastic: limits of each component of each control point, in either direction. The B-spline smooths them, so
            voxels move less.
        control_spacing: distance between control points; the paper does not give it.
        largest_dice: see above.
        draws: see above.

    Raises:
        pydantic.ValidationError: a value out of range, limits in the wrong order, control values that may fold
            the image, or no angle between the limits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    translation: Range = (25.0, 40.0)
    rotation: Range = (20.0, 180.0)
    rotation_step: float = Field(5.0, gt=0)
    elastic: Range = (1.0, 15.0)
    control_spacing: float = Field(64.0, gt=0)
    largest_dice: float = Field(0.7, gt=0, le=1)
    draws: int = Field(20, ge=1)

    @model_validator(mode="after")
    def _check(self) -> RandomDeformation:
        for name in ("translation", "rotation", "elastic"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} is a smallest and a largest size, neither negative, not {[low, high]}")
        if self.elastic[1] >= INJECTIVE * self.control_spacing:
            raise ValueError(
                f"elastic must be below {INJECTIVE} of control_spacing {self.control_spacing:g}, so that nothing "
                f"folds, not {self.elastic[1]:g}"
            )
        if not self._angles.size:
            raise ValueError(f"rotation has no multiple of {self.rotation_step:g} degrees: {list(self.rotation)}")
        return self

    @property
    def _angles(self) -> NDArray[np.float64]:
        first, last = np.ceil(self.rotation[0] / self.rotation_step), np.floor(self.rotation[1] / self.rotation_step)
        return np.arange(first, last + 1) * self.rotation_step

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> Deformation:
        """A deformation for labels `(rows, columns, 1)`; 0 is background.

        Raises:
            AcregError: there is no foreground, or labels are not 2-D.
        """
        check_mask(labels, "the label map")
        drawn = []
        for _ in range(self.draws):
            deformation = self._draw_any((labels.shape[0], labels.shape[1]), rng)
            dice = foreground_dice(labels, deformation.apply_labels(labels))
            if dice < self.largest_dice:
                return deformation
            drawn.append((dice, deformation))
        warnings.warn(
            f"A mask kept a Dice of {self.largest_dice:g} or more with itself in {self.draws} random deformations; the "
            "strongest is used. Its foreground may fill the image; else allow more draws or wider limits.",
            stacklevel=2,
        )
        return min(drawn, key=lambda pair: pair[0])[1]

    def _draw_any(self, shape: tuple[int, int], rng: np.random.Generator) -> Deformation:
        """A deformation within the limits, regardless of the overlap."""
        voxel = shape[1] / REFERENCE_WIDTH
        spacing = self.control_spacing * voxel
        shift = float(_either_sign(rng, self.translation, ()) * voxel)
        translation = (shift, 0.0) if rng.integers(2) else (0.0, shift)
        rotation = float(rng.choice(self._angles) * rng.choice((-1.0, 1.0)))
        control = _either_sign(rng, self.elastic, (*control_shape(shape, spacing), 2)) * voxel
        return Deformation(
            shape=shape, translation=translation, rotation=rotation, spacing=spacing, control=control.tolist()
        )


def control_shape(shape: tuple[int, ...], spacing: float) -> tuple[int, ...]:
    """The number of control points of a cubic B-spline along each axis: at least one cell, and one point around."""
    return tuple(max(1, int(np.ceil((size - 1) / spacing))) + 3 for size in shape)


def foreground_dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of the complete foreground of two label maps, at least one of which has foreground."""
    a, b = a > 0, b > 0
    return float(2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def _either_sign(rng: np.random.Generator, limits: tuple[float, float], size: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.uniform(*limits, size) * rng.choice((-1.0, 1.0), size)


def check_mask(labels: np.ndarray, name: str) -> None:
    """Refuse labels that are not `(rows, columns, 1)` with some foreground; `name` identifies them in the message.

    Raises:
        AcregError: the labels are refused.
    """
    if labels.ndim != 3 or labels.shape[-1] != 1 or not (labels > 0).any():
        raise AcregError(
            "How far an image is deformed is judged by the overlap of its labels, (rows, columns, 1) with some "
            f"foreground. Received: {name} of shape {labels.shape} with {np.count_nonzero(labels > 0)} voxels of "
            "foreground. Leave the image out, or label it."
        )
