"""Figures of transforms, drawn by Matplotlib: the deformed grid and the Jacobian determinant."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry.maps import Affine
from acreg.geometry.planes import Plane, planes, upright_grid
from acreg.geometry.thinning import determinants_at, with_short_flows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from acreg.geometry.image import Image
    from acreg.geometry.notebook_figure import NotebookFigure
    from acreg.geometry.transform import Transform

GRID_COLOUR = "#4aa8ff"
LETTERS = (
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
)
"""Where `draw_sides` writes: x and y, as shares of the axes, and the alignments."""
GROUND = "#10151c"
WIDTH, HEIGHT = 9.5, 8.0
"""Maximum size of a figure in inches, without titles."""
POINTS = 128
"""Maximum number of voxels along a side of a plane that are computed."""
VOXELS = 2**18
"""Maximum number of voxels of a velocity that is integrated for a figure."""


def transform_figure(transform: Transform, image: Image | None = None) -> NotebookFigure:
    """The deformed grid and the Jacobian determinant, of a volume in three planes through its middle; see `planes`.

    The affine maps are left out unless all maps are affine. The determinant is white at 1, blue below, red above,
    and magenta where the transform folds. A plane is computed at no more than `POINTS` voxels along a side.

    Args:
        transform: the transform.
        image: an image of the fixed space, which is shown behind the grid.

    Raises:
        AcregError: the image has another number of axes, or the fixed grid has one voxel along an axis.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if image is not None and image.grid.rank != transform.fixed.rank:
        raise AcregError(
            "The image behind a deformed grid has the transform's number of axes. Received: "
            f"{image.name or 'image'} of shape {image.grid.shape}, fixed grid {transform.fixed.shape}."
        )
    deforming = tuple(part for part in transform.maps if not isinstance(part, Affine))
    grid = upright_grid(transform.fixed)
    shown = planes(transform.fixed)
    short = with_short_flows(dataclasses.replace(transform, fixed=grid, maps=deforming or transform.maps), VOXELS)
    figure, panels, right = _panels([tuple(grid.shape[d] * grid.spacing[d] for d in plane.axes) for plane in shown])
    grid_title = "grid without affine maps" if 0 < len(deforming) < len(transform.maps) else "deformed grid"
    computed = [_points(short, plane) for plane in shown]
    behind = [] if image is None else _backgrounds(image, [grid.to_world(indices) for indices, _ in computed])
    for number, (plane, (indices, aspect)) in enumerate(zip(shown, computed)):
        above, below = panels[number], panels[number + len(shown)]
        if behind:
            above.imshow(behind[number], cmap="gray", aspect=aspect, vmin=0, vmax=1)
        draw_grid(above, _in_plane(short, plane, indices), aspect)
        determinant = determinants_at(short, indices.reshape(-1, grid.rank)).reshape(indices.shape[:-1])
        draw_determinant(below, determinant, aspect)
        for axes, title in ((above, grid_title), (below, "Jacobian determinant")):
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{plane.name}: {title}" if plane.name else title, fontsize=8)
            draw_sides(axes, plane.sides)
    colours = ScalarMappable(Normalize(0, 2), "RdBu_r")
    bar = figure.colorbar(colours, cax=right, ticks=(0, 0.5, 1, 1.5, 2))
    bar.set_label("local volume; folded: magenta", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def transform_png(transform: Transform) -> bytes:
    """The figure of a transform as PNG; errors as for `transform_figure`."""
    return transform_figure(transform)._repr_png_()


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
    axes.set_facecolor(GROUND)


def draw_determinant(axes: Axes, determinant: np.ndarray, aspect: float = 1.0) -> AxesImage:
    """Jacobian determinants: white 1, blue below, red above (up to 2), folded voxels (0 and less) magenta."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    picture = colormaps["RdBu_r"](Normalize(0, 2, clip=True)(determinant))[..., :3]
    picture[determinant <= 0] = (1.0, 0.0, 1.0)
    return axes.imshow(picture, aspect=aspect, interpolation="nearest")


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


def _panels(extents: list[tuple[float, ...]]) -> tuple[NotebookFigure, list[Axes], Axes]:
    """A figure with two panels for each plane, whose heights and widths in mm are given, and a narrow one on the right.

    All have one scale. Both panels of a single plane are side by side; those of three are in two rows.
    """
    from acreg.geometry.notebook_figure import NotebookFigure

    gap, title, bar = 0.12, 0.3, 0.9  # inches
    rows = [extents] * 2 if len(extents) > 1 else [extents * 2]
    across, down = sum(width for _, width in rows[0]), max(height for height, _ in extents)
    inch = min((WIDTH - bar - gap * (len(rows[0]) + 1)) / across, HEIGHT / len(rows) / down)
    size = across * inch + gap * (len(rows[0]) + 1) + bar, len(rows) * (down * inch + title) + gap
    figure = NotebookFigure(figsize=size, dpi=80, facecolor="white")
    panels = []
    for number, row in enumerate(rows, 1):
        left, middle = gap, size[1] - number * (down * inch + title) + down * inch / 2
        for height, width in row:
            place = left, middle - height * inch / 2, width * inch, height * inch
            panels.append(figure.add_axes(np.divide(place, (*size, *size)).tolist()))
            left += width * inch + gap
    place = left, gap + 0.05 * down * inch, 0.15, 0.9 * down * inch
    return figure, panels, figure.add_axes(np.divide(place, (*size, *size)).tolist())


def _points(transform: Transform, plane: Plane) -> tuple[np.ndarray, float]:
    """The voxels of a plane through the middle as shown, `(rows, columns, rank)`, and row spacing / column spacing."""
    grid = transform.fixed
    steps = [max(1, -(-grid.shape[d] // POINTS)) for d in plane.axes]
    rows, columns = (np.arange(0, grid.shape[d], step) for d, step in zip(plane.axes, steps))
    indices = np.empty((len(rows), len(columns), grid.rank))
    indices[...] = [n // 2 for n in grid.shape]
    indices[..., plane.axes[0]] = (rows[::-1] if plane.upward else rows)[:, None]
    indices[..., plane.axes[1]] = columns
    return indices, steps[0] * grid.spacing[plane.axes[0]] / (steps[1] * grid.spacing[plane.axes[1]])


def _in_plane(transform: Transform, plane: Plane, indices: np.ndarray) -> np.ndarray:
    """The displacement of the voxels of a plane along its rows and columns as shown, in their distances."""
    grid, axes = transform.fixed, list(plane.axes)
    steps = (indices[-1, -1] - indices[0, 0])[axes] / np.subtract(indices.shape[:2], 1)
    mapped = grid.to_index(transform.warp_points(grid.to_world(indices.reshape(-1, grid.rank)), to="moving"))
    return (mapped.reshape(indices.shape) - indices)[..., axes] / steps


def _backgrounds(image: Image, points: Sequence[np.ndarray]) -> list[np.ndarray]:
    """An image at points `(rows, columns, rank)` in mm of each plane, from 0 to 1 between percentiles of them all."""
    order = 0 if image.kind == "labels" else 1
    found = [
        ndimage.map_coordinates(image.array, np.moveaxis(image.grid.to_index(each), -1, 0), output=float, order=order)
        for each in points
    ]
    low, high = np.percentile(np.concatenate([each.ravel() for each in found]), (0.5, 99.5))
    return [np.clip((each - low) / ((high - low) or 1.0), 0, 1) for each in found]
