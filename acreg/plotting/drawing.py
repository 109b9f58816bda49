"""Drawings of a registered pair in 2-D, each on Matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from acreg._moved import forward
from acreg.metrics.labels import numbered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

FIXED_COLOUR = "#3ddc84"
WARPED_COLOUR = "#ff9a1f"
GRID_COLOUR = "#4aa8ff"
LETTERS = (
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
)
"""Where `draw_sides` writes: x and y, as shares of the axes, and the alignments."""

__getattr__ = forward(__name__, "acreg.plotting.warped_pair")


def stretch(image: np.ndarray) -> np.ndarray:
    """An image scaled to [0, 1] between its 0.5 and 99.5 percentiles; a constant image becomes 0."""
    low, high = np.percentile(image, (0.5, 99.5))
    if high <= low:
        return np.zeros(image.shape, np.float32)
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def draw_image(axes: Axes, image: np.ndarray, aspect: float = 1.0) -> None:
    """A grey image, stretched."""
    axes.imshow(stretch(image), cmap="gray", vmin=0, vmax=1, aspect=aspect, interpolation="bilinear")


def draw_contours(axes: Axes, labels: np.ndarray | None, colour: str, bold: int | None = None) -> None:
    """The outline of every label except 0; with `bold`, that label has a bold outline and others a thin one."""
    if labels is None:
        return
    from matplotlib.collections import LineCollection
    from skimage.measure import find_contours

    lines, widths = [], []
    values = [value for value in np.unique(labels).tolist() if value != 0]
    for value, box in zip(values, find_objects(numbered(labels, values), len(values)), strict=True):
        # A frame of zeros closes outlines at the border of the label's box.
        start = [part.start - 1 for part in box]
        found = find_contours(np.pad(labels[box] == value, 1).astype(float), 0.5)
        lines += [(line + start)[:, ::-1] for line in found]
        widths += [1.2 if bold is None else 2.2 if value == bold else 0.7] * len(found)
    if lines:
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=widths))
    axes.set_xlim(-0.5, labels.shape[1] - 0.5)
    axes.set_ylim(labels.shape[0] - 0.5, -0.5)


def draw_sides(axes: Axes, sides: Sequence[str]) -> None:
    """The letters of the patient's sides at the top, bottom, left and right."""
    from matplotlib.patheffects import withStroke

    for letter, (x, y, horizontal, vertical) in zip(sides, LETTERS):
        axes.text(
            *(x, y, letter),
            transform=axes.transAxes,
            ha=horizontal,
            va=vertical,
            color="white",
            fontsize=10,
            path_effects=[withStroke(linewidth=2, foreground="black")],
        )


def draw_mark(axes: Axes, row: float, column: float) -> None:
    """A white ring around a place."""
    from matplotlib.patheffects import withStroke

    (ring,) = axes.plot(column, row, "o", markersize=18, markeredgewidth=2, zorder=4)
    ring.set(markerfacecolor="none", markeredgecolor="white")
    ring.set_path_effects([withStroke(linewidth=4.5, foreground="black")])


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
