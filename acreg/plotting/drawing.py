"""Drawings of a registered pair in 2-D, each on Matplotlib axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from acreg._moved import forward
from acreg.geometry.figures import GRID_COLOUR as GRID_COLOUR
from acreg.geometry.figures import draw_determinant as draw_determinant
from acreg.geometry.figures import draw_grid as draw_grid
from acreg.geometry.figures import draw_sides as draw_sides
from acreg.geometry.figures import grid_lines as grid_lines
from acreg.metrics.labels import numbered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIXED_COLOUR = "#3ddc84"
WARPED_COLOUR = "#ff9a1f"

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


def draw_mark(axes: Axes, row: float, column: float) -> None:
    """A white ring around a place."""
    from matplotlib.patheffects import withStroke

    (ring,) = axes.plot(column, row, "o", markersize=18, markeredgewidth=2, zorder=4)
    ring.set(markerfacecolor="none", markeredgecolor="white")
    ring.set_path_effects([withStroke(linewidth=4.5, foreground="black")])


def checkerboard(a: np.ndarray, b: np.ndarray, tiles: int = 8, aspect: float = 1.0) -> np.ndarray:
    """Alternating square tiles of two images with the same shape, each stretched first; `tiles` along the longer side.

    `aspect` is row spacing / column spacing.
    """
    size = max(a.shape[0] * aspect, a.shape[1]) / tiles
    rows, columns = np.indices(a.shape)
    rows, columns = rows // max(1, round(size / aspect)), columns // max(1, round(size))
    return np.where((rows + columns) % 2 == 0, stretch(a), stretch(b))
