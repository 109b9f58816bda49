"""The result of a registration."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError, UsageError
from acreg.geometry.displacement import check_displacement, folding, positions, resample, slabs
from acreg.geometry.grid import Grid

if TYPE_CHECKING:
    from acreg.io.image import Image

TIE = 1e-6


@dataclass(frozen=True, eq=False)
class Transform:
    """Pulls a moving image onto a fixed grid: `warped(p) = moving(p + u(p))`.

    Where the two images differ in size their extents are laid over each other: along an axis with `Nf` fixed and `Nm`
    moving voxels the moving index is `(p + u(p) + 0.5) * Nm / Nf - 0.5`. Spacing, origin and direction are carried
    along but do not enter.

    Args:
        displacement: float32 `(*fixed_shape, rank)`, voxels of the fixed grid, component `d` along array axis `d`.
        fixed: the grid that results live on.
        moving: the grid of the images that are to be moved.

    Raises:
        AcregError: shapes do not fit, or the displacement has values that are not finite.
    """

    displacement: np.ndarray
    fixed: Grid
    moving: Grid

    def __post_init__(self) -> None:
        displacement = np.asarray(self.displacement, dtype=np.float32)
        rank = check_displacement(displacement)
        if displacement.shape[:-1] != self.fixed.shape or self.moving.rank != rank:
            raise AcregError(
                "A transform's displacement has the fixed grid's shape, and both grids its rank. Received: "
                f"displacement {displacement.shape}, fixed {self.fixed.shape}, moving {self.moving.shape}."
            )
        if not np.isfinite(displacement).all():
            raise AcregError(
                f"A displacement is finite. Received: {int((~np.isfinite(displacement)).sum())} values that are NaN or "
                "infinite. Check the model's weights and the two images."
            )
        object.__setattr__(self, "displacement", displacement)

    def warp_image(self, image: Image) -> Image:
        """Resample a moving image on the fixed grid, once and linearly; outside it the edge value counts.

        Raises:
            AcregError: the image is not on the moving grid (its shape differs).
        """
        self._check(image)
        warped = resample(image.array, self.displacement, self._scale)
        return dataclasses.replace(image, array=warped, grid=self.fixed)

    def warp_labels(self, image: Image, interpolation: Literal["linear", "nearest"] = "linear") -> Image:
        """Resample moving labels on the fixed grid; what lies outside the moving image is background (0).

        Args:
            image: labels on the moving grid.
            interpolation: "linear" (default) warps the indicator of each label linearly and takes the largest, the
                lower label in a tie; "nearest" takes the value of the nearest voxel.

        Raises:
            AcregError: the image holds no labels, or is not on the moving grid.
            UsageError: `interpolation` is another word.
        """
        self._check(image)
        if image.kind != "labels":
            raise AcregError(
                f"Only labels can be warped as labels. Received: kind={image.kind!r}. Use warp_image for it."
            )
        if interpolation not in ("linear", "nearest"):
            raise UsageError(f"Labels are warped 'linear' or 'nearest'. Received: interpolation={interpolation!r}.")
        sample = _largest_label if interpolation == "linear" else _nearest_label
        warped = np.empty(self.fixed.shape, image.array.dtype)
        for part in slabs(self.fixed.shape):
            points = positions(self.displacement, self._scale, part)
            found = sample(image.array, points.reshape(self.fixed.rank, -1)).reshape(points.shape[1:])
            warped[part] = np.where(_inside(points, self.moving.shape), found, 0)
        return dataclasses.replace(image, array=warped, grid=self.fixed)

    def folding(self) -> dict[str, float]:
        """`folded_percent` and `sd_log_j` of the displacement: see `acreg.geometry.folding`."""
        return folding(self.displacement)

    @property
    def _scale(self) -> tuple[float, ...]:
        return tuple(m / f for m, f in zip(self.moving.shape, self.fixed.shape, strict=True))

    def _check(self, image: Image) -> None:
        if image.grid.shape != self.moving.shape:
            raise AcregError(
                f"The image to be warped lies on the moving grid. Received: {image.name or 'image'} of shape "
                f"{image.grid.shape}, moving grid {self.moving.shape}. Give the moving image, or labels drawn on it."
            )


def _inside(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Whether each of `points` `(rank, *spatial)` lies within an image's extent, half a voxel beyond its centres."""
    return np.all([(p >= -0.5 - TIE) & (p <= n - 0.5 + TIE) for p, n in zip(points, shape, strict=True)], axis=0)


def _nearest_label(labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The label of the voxel whose centre is nearest to each of `points` `(rank, n)`."""
    return ndimage.map_coordinates(labels, points, order=0, mode="nearest")


def _largest_label(labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The label with the largest linear weight among the corners around each of `points` `(rank, n)`.

    Most points have the same label at every corner; only the rest is weighed, a label at a time.
    """
    corners = _corners(labels, points)
    first = next(corners)[0]
    result = first.copy()
    differs = np.zeros(result.shape, bool)
    for found, _ in corners:
        differs |= found != first
    border = np.flatnonzero(differs)
    if border.size == 0:
        return result
    around = list(_corners(labels, points[:, border]))
    values = np.unique(np.stack([found for found, _ in around]))
    best = np.full(border.size, -1.0)
    winner = np.empty(border.size, labels.dtype)
    for value in values:
        score = np.zeros(border.size)
        for found, weight in around:
            score += np.where(found == value, weight, 0.0)
        wins = score > best + TIE
        winner[wins] = value
        best[wins] = score[wins]
    result[border] = winner
    return result


def _corners(labels: np.ndarray, points: np.ndarray):  # type: ignore[no-untyped-def]
    """Yield, for each of the 2**rank corners, the labels there and their linear weights, both `(n,)`."""
    clipped = [np.clip(p, 0, n - 1) for p, n in zip(points, labels.shape, strict=True)]
    low = [p.astype(np.intp) for p in clipped]
    fraction = [p - q for p, q in zip(clipped, low, strict=True)]
    high = [np.minimum(q + 1, n - 1) for q, n in zip(low, labels.shape, strict=True)]
    for corner in itertools.product((0, 1), repeat=len(points)):
        index = tuple(high[d] if up else low[d] for d, up in enumerate(corner))
        weight = np.ones(points.shape[1])
        for d, up in enumerate(corner):
            weight = weight * (fraction[d] if up else 1.0 - fraction[d])
        yield labels[index], weight
