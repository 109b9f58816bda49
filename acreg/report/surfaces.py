"""Pictures of surfaces, coloured by a number at each point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from acreg.shapes import Surface

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VIEWS = ((20, -60), (20, 120))
"""Elevation and azimuth, in degrees, of the two views of a surface."""


def surface_figure(
    surfaces: Sequence[Surface], names: Sequence[str], values: Sequence[np.ndarray], title: str
) -> Figure:
    """Surfaces coloured by value; those in 3-D are seen from two sides.

    Args:
        surfaces: surfaces of the same rank; drawn side by side.
        names: names of the surfaces, shown above them.
        values: for each surface, one value per point.
        title: description of the values.
    """
    from matplotlib import cm, colors
    from matplotlib.collections import LineCollection
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    from acreg.geometry.notebook_figure import NotebookFigure

    rank = surfaces[0].rank
    views = VIEWS if rank == 3 else VIEWS[:1]
    norm = colors.Normalize(0, max(float(np.concatenate(list(values)).max()), 1e-9))
    figure = NotebookFigure(figsize=(4.0 * len(surfaces) + 1.0, 3.5 * len(views)), dpi=100, layout="constrained")
    for row, (height, side) in enumerate(views):
        for column, (surface, value) in enumerate(zip(surfaces, values, strict=True)):
            at = (len(views), len(surfaces), row * len(surfaces) + column + 1)
            corners = surface.points[surface.cells][..., ::-1]
            low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
            colour = cm.viridis(norm(value[surface.cells].mean(axis=1)))
            if rank == 3:
                axes = figure.add_subplot(*at, projection="3d")
                axes.add_collection3d(Poly3DCollection(corners, facecolors=colour, edgecolors=(0, 0, 0, 0.15), lw=0.3))
                axes.set_zlim(low[2], high[2])
                axes.set_box_aspect(np.maximum(high - low, 1e-6), zoom=1.1)
                axes.view_init(height, side)
            else:
                axes = figure.add_subplot(*at)
                axes.add_collection(LineCollection(corners, colors=colour, linewidths=2))
                axes.set_aspect("equal")
            axes.set_xlim(low[0], high[0])
            axes.set_ylim(*((low[1], high[1]) if rank == 3 else (high[1], low[1])))
            axes.set_axis_off()
            if row == 0:
                axes.set_title(names[column])
    figure.colorbar(cm.ScalarMappable(norm, "viridis"), ax=figure.axes, label=title, shrink=0.6)
    return figure
