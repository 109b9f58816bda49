"""An image as the linear registration sees it: where its content lies, and what it looks like at a resolution."""

from __future__ import annotations

import itertools

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.geometry.label_grid import labels_on
from acreg.geometry.resize import sample_image

CONTENT = 0.05
"""Share of the image's contrast by which a voxel must differ from the background to count as content."""
COUNTED = 200_000
"""About so many voxels are looked at for percentiles."""
MARGIN = 2
"""Voxels of background around the content at each resolution, where the image has background."""
REACH = 1.7
"""Distance of the border from the centre, in standard deviations of the content along an axis: 1.73 for a box."""


class Subject:
    """An image with its axes in the order of the world, its background, and the place of its content.

    All of it depends on the content alone: neither the order of the axes nor further background around it matters.

    Args:
        image: intensities.
        mask: an image of kind "labels", nonzero where the image counts; None means everywhere.
        role: "fixed" or "moving", for messages.

    Raises:
        AcregError: the image is constant where it counts, the mask is empty, or it cannot be placed on the image.

    Attributes:
        grid: grid of the axes in the order of the world.
        centre: centre of mass of the content, `(rank,)` mm.
        middles: centre of the extent and centre of the content's box, mm.
        covariance: of the content, `(rank, rank)` mm^2.
        size: of the content's box along each axis, mm.
        radius: typical distance of the content's border from its centre, mm.
    """

    def __init__(self, image: Image, mask: Image | None, role: str) -> None:
        counts = None if mask is None else _mask(mask, image, role)
        # Nothing below sees a value outside of the mask.
        array = image.array if counts is None else np.where(counts, image.array, np.float32(0))
        self.grid = image.grid.reoriented()
        self.array = sample_image(array, image.grid, self.grid, 0.0)
        self.mask = None if counts is None else sample_image(counts, image.grid, self.grid, 0.0)
        rank = self.grid.rank
        if self.mask is None:
            border = np.concatenate([np.take(self.array, [0, -1], axis).ravel() for axis in range(rank)])
            self.background = float(np.median(border))
            away = np.abs(self.array - np.float32(self.background))
            some = away[away > 0]
            top = np.percentile(some[:: 1 + some.size // COUNTED], 99.5) if some.size else 0.0
            weights = np.minimum(away, top) * (away > CONTENT * top)
        else:
            self.background = 0.0
            weights = self.mask
        content = weights > 0
        values = self.array[content]
        values = values[:: 1 + values.size // COUNTED]
        low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 0.0)
        if self.mask is None and values.size:
            low, high = min(low, self.background), max(high, self.background)
        if not low < high:
            raise AcregError(
                f"An image that is registered varies{'' if mask is None else ' within its mask'}. Received: the {role} "
                f"image {image.name or 'array'}, which is constant{'' if mask is None else ' there'}. Give an image "
                "with content" + ("." if mask is None else ", or another mask.")
            )
        self.range = float(low), float(high)
        self.start, self.stop = _box(content)
        mean, covariance = _moments(weights[tuple(map(slice, self.start, self.stop))])
        steps = self.grid.matrix[:-1, :-1]
        self.centre = self.grid.to_world(self.start + mean)
        self.covariance = steps @ covariance @ steps.T
        self.size = (self.stop - self.start) * self.grid.spacing
        self.radius = REACH * float(np.sqrt(np.trace(self.covariance) / rank)) or 1.0
        self.middles = (
            self.grid.to_world((np.array(self.grid.shape) - 1) / 2),
            self.grid.to_world((self.start + self.stop - 1) / 2),
        )

    def at(self, spacing: float) -> Samples:
        """The content at a resolution in mm, or that of the image along axes where it is coarser."""
        steps = np.maximum(spacing, self.grid.spacing)
        # Where the content reaches the border of the image, there is no background that could be added.
        within = (self.start > 0) & (self.stop < self.grid.shape)
        cells = np.ceil(self.size / steps - 1e-6).astype(int) + 2 * MARGIN * within
        onto = self.grid.centred((self.start + self.stop - 1) / 2, tuple(cells.tolist()), tuple(steps.tolist()))
        array = sample_image(self.array, self.grid, onto, self.background)
        shares = None
        if self.mask is not None:
            # A mean over the voxels that count: values outside of the mask must not blur into it.
            shares = sample_image(self.mask, self.grid, onto, 0.0)
            array = array / np.maximum(shares, 1e-3)
        low, high = self.range
        return Samples(np.clip((array - low) / (high - low), 0, 1).astype(np.float32), shares, onto)


class Samples:
    """An image `(*grid.shape)` in [0, 1] that is interpolated linearly; beyond its outer centres its edge values hold.

    Args:
        array: `(*grid.shape)` float32.
        shares: how much of each voxel counts, in [0, 1], or None if all of it.
        grid: its grid.
    """

    def __init__(self, array: np.ndarray, shares: np.ndarray | None, grid: Grid) -> None:
        self.grid = grid
        self.to_index = np.linalg.inv(grid.matrix)
        # An axis with one voxel gets a second one, so that each point has two neighbours along each axis.
        double = [(0, int(n == 1)) for n in array.shape]
        array = np.pad(array, double, mode="edge")
        self.flat = array.ravel()
        self.shares = None if shares is None else np.pad(shares, double, mode="edge").ravel()
        self.last = np.array(array.shape) - 1
        self.strides = np.array(array.strides) // array.itemsize
        self.corners = np.array([np.dot(c, self.strides) for c in itertools.product((0, 1), repeat=array.ndim)])

    def __call__(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Values `(n,)`, their gradients by index `(rank, n)`, and the same of the shares, at indices `(rank, n)`."""
        first: np.ndarray = np.zeros(indices.shape[1], np.int64)
        fractions, beyond = [], []
        for x, last, stride in zip(indices, self.last, self.strides, strict=True):
            held = np.clip(x, 0, last)
            beyond.append(held != x)
            lower = np.minimum(held.astype(np.int64), last - 1)
            fractions.append(held - lower.astype(np.float32))
            first += lower * stride
        at = first + self.corners[:, None]
        values, gradients = _interpolated(self.flat.take(at), fractions, beyond)
        if self.shares is None:
            return values, gradients, None, None
        shares, slopes = _interpolated(self.shares.take(at), fractions, beyond)
        outside = np.logical_or.reduce(beyond)
        shares[outside] = 0
        slopes[:, outside] = 0
        return values, gradients, shares, slopes


def _interpolated(
    corners: np.ndarray, fractions: list[np.ndarray], beyond: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation between `(2^rank, n)` corners, one axis after the other, and its gradient `(rank, n)`."""
    rank = len(fractions)
    values = corners.reshape((2,) * rank + (-1,))
    gradients: list[np.ndarray] = []
    for fraction in fractions:
        step = values[1] - values[0]
        gradients = [g[0] + fraction * (g[1] - g[0]) for g in gradients]
        gradients.append(step)
        values = values[0] + fraction * step
    for gradient, outside in zip(gradients, beyond, strict=True):
        gradient[outside] = 0
    return values, np.stack(gradients)


def _mask(mask: Image, image: Image, role: str) -> np.ndarray:
    if mask.grid.rank != image.grid.rank:
        raise AcregError(
            f"A mask has the axes of its image. Received: a {role} mask of shape {mask.grid.shape} for an image of "
            f"shape {image.grid.shape}. Give the mask drawn on that image."
        )
    counts = np.asarray(labels_on(mask, image).array != 0)
    if not counts.any():
        raise AcregError(
            f"A mask marks at least one voxel of its image. Received: an empty {role} mask, "
            f"{mask.name or 'array'} of shape {mask.grid.shape}. Give nonzero values to what counts, or no mask."
        )
    return counts


def _others(axis: int, *more: int, rank: int) -> tuple[int, ...]:
    return tuple(d for d in range(rank) if d not in (axis, *more))


def _box(content: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index of the content along each axis, and the one after its last."""
    rank = content.ndim
    found = [np.flatnonzero(content.any(axis=_others(axis, rank=rank))) for axis in range(rank)]
    return np.array([f[0] for f in found]), np.array([f[-1] + 1 for f in found])


def _moments(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean index and covariance of weights, from their sums over lines and planes."""
    rank = weights.ndim
    total = weights.sum(dtype=float)
    places = [np.arange(n) for n in weights.shape]
    sums = [weights.sum(axis=_others(axis, rank=rank), dtype=float) for axis in range(rank)]
    mean = np.array([s @ x / total for s, x in zip(sums, places, strict=True)])
    covariance = np.diag([s @ (x - m) ** 2 / total for s, x, m in zip(sums, places, mean, strict=True)])
    for i, j in itertools.combinations(range(rank), 2):
        plane = weights.sum(axis=_others(i, j, rank=rank), dtype=float)
        covariance[i, j] = covariance[j, i] = (places[i] - mean[i]) @ plane @ (places[j] - mean[j]) / total
    return mean, covariance
