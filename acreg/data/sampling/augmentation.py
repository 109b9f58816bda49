"""Random changes of the intensities and geometry of a batch of images and labels, in NumPy, for all samples at once."""

from __future__ import annotations

from itertools import combinations, product
from math import prod
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

_BIAS_GRID = 4
Angle = Annotated[float, Field(ge=0.0, le=np.pi)]
"""A limit of a rotation in radians."""


def smooth_basis(size: int, points: int) -> NDArray[np.float32]:
    """Cubic B-spline weights `(size, points + 2)` of a uniform grid of control points, each row of norm one.

    A product of such matrices with standard normal control values, one matrix per axis, is a smooth random field with
    mean 0 and standard deviation 1 at every voxel.
    """
    at = (np.arange(size) + 0.5) / size * (points - 1)
    distance = np.abs(at[:, None] - np.arange(-1, points + 1)[None, :])
    inner = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    outer = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
    weights = np.where(distance < 1.0, inner, outer)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], spatial: tuple[int, ...], points: int
) -> NDArray[np.float32]:
    """Smooth Gaussian noise `(*shape, *spatial)`, float32, standard deviation 1, with about `points` bumps per axis."""
    field = rng.standard_normal((*shape, *(points + 2,) * len(spatial)), dtype=np.float32)
    for size in spatial:  # each product replaces the first spatial axis and puts the result last
        field = np.moveaxis(field, len(shape), -1) @ smooth_basis(size, points).T
    return field


def sample_linear(images: np.ndarray, coordinates: np.ndarray) -> NDArray[np.float32]:
    """Images `(batch, *spatial, channels)`, sampled linearly at `coordinates` `(rank, batch, *grid)` in voxels.

    Points outside the image take the value at its edge. Returns float32 `(batch, *grid, channels)`.
    """
    batch, *spatial, channels = images.shape
    flat = images.reshape(-1, channels)
    base = np.arange(batch, dtype=np.intp).reshape(-1, *(1,) * len(spatial)) * prod(spatial)
    corners = []
    for axis, size in enumerate(spatial):
        stride = prod(spatial[axis + 1 :])
        place = np.clip(coordinates[axis], 0, size - 1)
        lower = np.minimum(place.astype(np.intp), max(size - 2, 0))
        share = (place - lower).astype(np.float32)
        corners.append(((lower * stride, 1.0 - share), (np.minimum(lower + 1, size - 1) * stride, share)))
    result = np.zeros((*coordinates.shape[1:], channels), np.float32)
    for corner in product(*corners):
        index, weight = corner[0][0] + base, corner[0][1]
        for offset, share in corner[1:]:
            index, weight = index + offset, weight * share
        result += np.take(flat, index, axis=0) * weight[..., None]
    return result


def sample_nearest(labels: np.ndarray, coordinates: np.ndarray, outside: int | None = None) -> np.ndarray:
    """Like `sample_linear`, but the value of the nearest voxel, in the type of `labels`.

    Points more than half a voxel outside take the value `outside`; None means the value at the edge.
    """
    batch, *spatial, channels = labels.shape
    index = np.arange(batch, dtype=np.intp).reshape(-1, *(1,) * len(spatial)) * prod(spatial)
    for axis, size in enumerate(spatial):
        place = np.rint(np.clip(coordinates[axis], 0, size - 1)).astype(np.intp)
        index = index + place * prod(spatial[axis + 1 :])
    result = np.take(labels.reshape(-1, channels), index, axis=0)
    if outside is not None:
        for axis, size in enumerate(spatial):
            result[(coordinates[axis] < -0.5) | (coordinates[axis] > size - 0.5)] = outside
    return result


class Augmentation(BaseModel):
    """Random changes of training images; each sample of a batch is drawn independently. 0 switches a part off.

    Images are in [0, 1] before and after. The geometric parts come first and also warp the labels (nearest neighbour);
    the intensity parts follow in the order below. Rotation and shear assume isotropic voxels. In the graph of a model,
    `acreg.layers.ImageAugmentation` makes the same changes.

    Arguments:
        gamma: raises the image to the power exp(g), with g uniform in [-gamma, gamma].
        contrast: multiplies the difference from the image's mean by 1 + c, with c uniform in [-contrast, contrast].
        bias_field: multiplies by exp(b), where b is a smooth random field with this standard deviation.
        noise: adds independent Gaussian noise with a standard deviation uniform in [0, noise].
        invert: the probability of inverted grey values, 1 - image, after all other parts.
        rotation: rotates by an angle uniform in [-rotation, rotation] in radians, in 3-D about each axis; or the limits
            about the first, the second and the third axis, for images of thick slices.
        scale: multiplies the size by 1 + s, with s uniform in [-scale, scale].
        shear: shears along each axis, in voxels per voxel along each later axis, uniform in [-shear, shear]; the volume
            is kept.
        shift: translates along each axis, uniform in [-shift, shift] as a share of the image's size.
        elastic: standard deviation of a smooth random displacement as a share of the image's size.
        elastic_grid: number of control points of that displacement along each axis.

    Raises:
        pydantic.ValidationError: a value outside its range, or an unknown name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    gamma: float = Field(default=0.0, ge=0.0, le=3.0)
    contrast: float = Field(default=0.0, ge=0.0, le=1.0)
    bias_field: float = Field(default=0.0, ge=0.0, le=2.0)
    noise: float = Field(default=0.0, ge=0.0, le=1.0)
    invert: float = Field(default=0.0, ge=0.0, le=1.0)
    rotation: Angle | tuple[Angle, Angle, Angle] = 0.0
    scale: float = Field(default=0.0, ge=0.0, lt=1.0)
    shear: float = Field(default=0.0, ge=0.0, le=1.0)
    shift: float = Field(default=0.0, ge=0.0, le=0.5)
    elastic: float = Field(default=0.0, ge=0.0, le=0.2)
    elastic_grid: int = Field(default=4, ge=2, le=32)

    @property
    def geometric(self) -> bool:
        """Whether any part moves voxels."""
        return any((np.any(self.rotation), self.scale, self.shear, self.shift, self.elastic))

    def apply(
        self, images: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator, outside: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Changed images float32 `(batch, *spatial, channels)` and labels `(batch, *spatial, 1)` (None stays None).

        The arguments are not changed; if all parts are switched off, they are returned as they are. Voxels from outside
        the image get its edge value, and the label at the edge or `outside`, see `sample_nearest`.
        """
        if self.geometric:
            coordinates = self.coordinates(len(images), images.shape[1:-1], rng)
            images = sample_linear(images, coordinates)
            labels = None if labels is None else sample_nearest(labels, coordinates, outside)
        return self.change_intensity(images, rng), labels

    def move_labels(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Labels `(batch, *spatial, 1)` after the geometric parts alone."""
        if not self.geometric:
            return labels
        return sample_nearest(labels, self.coordinates(len(labels), labels.shape[1:-1], rng))

    def change_intensity(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images `(batch, *spatial, channels)` after the intensity parts alone, float32 in [0, 1]."""
        if not any((self.gamma, self.contrast, self.bias_field, self.noise, self.invert)):
            return images
        batch, *spatial, _ = images.shape
        one_each = (batch, *(1,) * (images.ndim - 1))

        def uniform(limit: float) -> NDArray[np.float32]:
            return rng.uniform(-limit, limit, one_each).astype(np.float32)

        changed = np.clip(images, 0.0, 1.0, dtype=np.float32)
        if self.gamma:
            changed = changed ** np.exp(uniform(self.gamma))
        if self.contrast:
            mean = changed.mean(axis=tuple(range(1, images.ndim)), keepdims=True)
            changed = mean + (changed - mean) * (1.0 + uniform(self.contrast))
        if self.bias_field:
            field = smooth_noise(rng, (batch,), tuple(spatial), _BIAS_GRID)
            changed = changed * np.exp(self.bias_field * field)[..., None]
        if self.noise:
            changed = changed + rng.standard_normal(images.shape, dtype=np.float32) * np.abs(uniform(self.noise))
        changed = np.clip(changed, 0.0, 1.0)
        if self.invert:
            changed = np.where(rng.random(one_each) < self.invert, 1.0 - changed, changed)
        return changed

    def coordinates(self, batch: int, spatial: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """The points at which the voxels of the result are sampled: float32 `(rank, batch, *spatial)`, in voxels.

        With the rotation R, the shear H (ones on the diagonal, zeros below), the scale s, the centre c, the shift t
        and the elastic displacement e, voxel p is sampled at c + R H (p - c) / (1 + s) - t + e(p).
        """
        rank = len(spatial)
        matrix = np.broadcast_to(np.eye(rank), (batch, rank, rank))
        for first, second in combinations(range(rank), 2) if np.any(self.rotation) else ():
            limit = self._angle(rank, first, second)
            angle = rng.uniform(-limit, limit, batch)
            turn = np.broadcast_to(np.eye(rank), (batch, rank, rank)).copy()
            turn[:, first, first] = turn[:, second, second] = np.cos(angle)
            turn[:, first, second], turn[:, second, first] = -np.sin(angle), np.sin(angle)
            matrix = turn @ matrix
        if self.shear:
            slant = np.broadcast_to(np.eye(rank), (batch, rank, rank)).copy()
            for first, second in combinations(range(rank), 2):
                slant[:, first, second] = rng.uniform(-self.shear, self.shear, batch)
            matrix = matrix @ slant
        if self.scale:
            matrix = matrix / (1.0 + rng.uniform(-self.scale, self.scale, (batch, 1, 1)))
        centre = (np.array(spatial) - 1.0) / 2.0
        offset = np.broadcast_to(centre, (batch, rank))
        if self.shift:
            offset = offset - rng.uniform(-self.shift, self.shift, (batch, rank)) * spatial
        one_each = (rank, batch, *(1,) * rank)
        coordinates = np.moveaxis(offset, -1, 0).reshape(one_each).astype(np.float32)
        for axis, size in enumerate(spatial):
            column = np.moveaxis(matrix[:, :, axis], -1, 0).reshape(one_each).astype(np.float32)
            along = (np.arange(size, dtype=np.float32) - np.float32(centre[axis])).reshape(
                -1, *(1,) * (rank - 1 - axis)
            )
            coordinates = coordinates + column * along
        if self.elastic:
            sd = np.array(spatial, np.float32).reshape(rank, *(1,) * (rank + 1)) * np.float32(self.elastic)
            coordinates = coordinates + sd * smooth_noise(rng, (rank, batch), spatial, self.elastic_grid)
        return coordinates

    def _angle(self, rank: int, first: int, second: int) -> float:
        """The limit of the rotation in the plane of two axes."""
        if not isinstance(self.rotation, tuple):
            return self.rotation
        if rank != len(self.rotation):
            raise ValueError(
                f"A rotation about each of three axes is for volumes. Received: rotation={self.rotation} for images of "
                f"rank {rank}. Give one number."
            )
        return self.rotation[3 - first - second]
