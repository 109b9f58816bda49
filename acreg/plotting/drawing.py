"""Drawings of a registered pair, each on Matplotlib axes; volumes are shown as one slice along the first axis."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.errors import images_by_name
from acreg.geometry import (
    Affine,
    Transform,
    jacobian_determinant,
    labels_on,
    sample_image,
    sample_labels,
    unregistered,
)
from acreg.geometry.transform import Border
from acreg.io import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

FIXED_COLOUR = "#3ddc84"
WARPED_COLOUR = "#ff9a1f"
GRID_COLOUR = "#4aa8ff"


@dataclass
class PairView:
    """A registered pair in 2-D, everything on the fixed grid except `moving` and `moving_labels`.

    Images and label maps are `(rows, columns)`, the displacement is `(rows, columns, 2)` in voxels of the fixed grid.
    `aspect` and `moving_aspect` are row spacing / column spacing. `before` is the moving image on the fixed grid,
    without registration.
    """

    fixed: np.ndarray
    moving: np.ndarray
    before: np.ndarray
    warped: np.ndarray
    displacement: np.ndarray
    determinant: np.ndarray
    aspect: float
    moving_aspect: float
    fixed_labels: np.ndarray | None = None
    moving_labels: np.ndarray | None = None
    warped_labels: np.ndarray | None = None


@images_by_name
def view_pair(
    transform: Transform,
    *,
    fixed: Image,
    moving: Image,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    border: Border = "constant",
    fill: float = 0.0,
) -> PairView:
    """Warp the given images and labels and extract the slice to show; for values outside, see `Transform.warp_image`.

    For a volume, this is the axial slice with the most fixed labels, or else the middle one, in radiological view (the
    patient's left on the right).

    Raises:
        AcregError: labels cannot be placed on their image, see `acreg.geometry.labels_on`.
    """
    fixed_labels = None if fixed_labels is None else labels_on(fixed_labels, fixed)
    moving_labels = None if moving_labels is None else labels_on(moving_labels, moving)
    if fixed.grid.rank == 3:
        fixed, moving = _upright(fixed), _upright(moving)
        fixed_labels = None if fixed_labels is None else _upright(fixed_labels)
        moving_labels = None if moving_labels is None else _upright(moving_labels)
        transform = dataclasses.replace(transform, fixed=fixed.grid, moving=moving.grid)
    before = unregistered(fixed=fixed, moving=moving).warp_image(moving, border, fill).array
    warped = transform.warp_image(moving, border, fill).array
    warped_labels = None if moving_labels is None else transform.warp_labels(moving_labels).array
    deformation = dataclasses.replace(transform, maps=tuple(m for m in transform.maps if not isinstance(m, Affine)))
    displacement = deformation.displacement
    determinant = jacobian_determinant(displacement)
    index: int | None = None
    moving_index: int | None = None
    if fixed.grid.rank == 3:
        index = fixed.grid.shape[0] // 2
        if fixed_labels is not None and fixed_labels.array.any():
            index = int(np.argmax((fixed_labels.array != 0).sum(axis=(1, 2))))
        moving_index = int((index + 0.5) * moving.grid.shape[0] / fixed.grid.shape[0])
        displacement = displacement[..., 1:]

    def cut(array: np.ndarray | None, at: int | None = index) -> Any:
        return array if at is None or array is None else array[at]

    return PairView(
        fixed=cut(fixed.array),
        moving=cut(moving.array, moving_index),
        before=cut(before),
        warped=cut(warped),
        displacement=cut(displacement),
        determinant=cut(determinant),
        aspect=fixed.grid.spacing[-2] / fixed.grid.spacing[-1],
        moving_aspect=moving.grid.spacing[-2] / moving.grid.spacing[-1],
        fixed_labels=None if fixed_labels is None else cut(fixed_labels.array),
        moving_labels=None if moving_labels is None else cut(moving_labels.array, moving_index),
        warped_labels=cut(warped_labels),
    )


def _upright(image: Image) -> Image:
    """The same voxels along (superior, posterior, left)."""
    grid = image.grid.reoriented()
    sample = sample_labels if image.kind == "labels" else partial(sample_image, outside=0.0)
    return dataclasses.replace(image, array=sample(image.array, image.grid, grid), grid=grid)


def stretch(image: np.ndarray) -> np.ndarray:
    """An image scaled to [0, 1] between its 0.5 and 99.5 percentiles; a constant image becomes 0."""
    low, high = np.percentile(image, (0.5, 99.5))
    if high <= low:
        return np.zeros(image.shape, np.float32)
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def draw_image(axes: Axes, image: np.ndarray, aspect: float = 1.0) -> None:
    """A grey image, stretched."""
    axes.imshow(stretch(image), cmap="gray", vmin=0, vmax=1, aspect=aspect, interpolation="bilinear")


def draw_contours(axes: Axes, labels: np.ndarray | None, colour: str) -> None:
    """The outline of every label except 0."""
    if labels is None:
        return
    for value in np.unique(labels):
        # A frame of zeros closes outlines at the border of the image.
        mask = np.pad(labels == value, 1).astype(np.float32)
        if value != 0:
            rows, columns = np.arange(-1, labels.shape[0] + 1), np.arange(-1, labels.shape[1] + 1)
            axes.contour(columns, rows, mask, levels=[0.5], colors=[colour], linewidths=1.2)
    axes.set_xlim(-0.5, labels.shape[1] - 0.5)
    axes.set_ylim(labels.shape[0] - 0.5, -0.5)


def checkerboard(a: np.ndarray, b: np.ndarray, tiles: int = 8) -> np.ndarray:
    """Alternating tiles of two images with the same shape, each stretched first; `tiles` along the longer side."""
    size = max(1, round(max(a.shape) / tiles))
    rows, columns = np.indices(a.shape) // size
    return np.where((rows + columns) % 2 == 0, stretch(a), stretch(b))


def grid_lines(displacement: np.ndarray, lines: int = 24) -> list[np.ndarray]:
    """The lines p + u(p) of a regular grid of the fixed image, each ``(points, 2)``, columns and rows."""
    rows, columns = displacement.shape[:2]
    y, x = np.indices((rows, columns), dtype=float)
    y, x = y + displacement[..., 0], x + displacement[..., 1]
    step = max(1, round(max(rows, columns) / lines))
    points = np.stack([x, y], axis=-1)
    return [points[r] for r in range(0, rows, step)] + [points[:, c] for c in range(0, columns, step)]


def draw_grid(axes: Axes, displacement: np.ndarray, aspect: float = 1.0) -> None:
    """A regular grid of the fixed image, mapped to the moving image, see `grid_lines`."""
    from matplotlib.collections import LineCollection

    rows, columns = displacement.shape[:2]
    axes.add_collection(LineCollection(grid_lines(displacement), colors=GRID_COLOUR, linewidths=0.8))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_aspect(aspect)
    axes.set_facecolor("#10151c")


def draw_determinant(axes: Axes, determinant: np.ndarray, aspect: float = 1.0) -> AxesImage:
    """Jacobian determinants: white 1, blue below, red above (up to 2), folded voxels (0 and less) magenta."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    picture = colormaps["RdBu_r"](Normalize(0, 2, clip=True)(determinant))[..., :3]
    picture[determinant <= 0] = (1.0, 0.0, 1.0)
    return axes.imshow(picture, aspect=aspect, interpolation="nearest")
