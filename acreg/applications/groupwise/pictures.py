"""The template as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acreg.geometry import Image, sample_image
from acreg.plotting.drawing import draw_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = ("Mean after the linear alignment", "Template", "Standard deviation of the grey values")
VIEWS = ("axial", "coronal", "sagittal")


def template_figure(template: Image, deviation: NDArray[np.float32], first: Image) -> Figure:
    """A Matplotlib figure: the first mean, the template, and where the images still differ; volumes in three slices.

    Args:
        template: the mean of the last round.
        deviation: of the grey values, `(*spatial)` of the template.
        first: the mean after the linear rounds.
    """
    from acreg.geometry.notebook_figure import NotebookFigure

    grid = template.grid.reoriented() if template.grid.rank == 3 else template.grid
    # In a volume, the first index is at the feet.
    arrays = [
        sample_image(array, old, grid, 0.0)
        for array, old in ((first.array, first.grid), (template.array, template.grid), (deviation, template.grid))
    ]
    views = VIEWS if grid.rank == 3 else ("",)
    figure = NotebookFigure(figsize=(10.8, 3.7 * len(views)), dpi=110, facecolor="white", layout="constrained")
    panels = figure.subplots(len(views), len(arrays), squeeze=False)
    for axis, view in enumerate(views):
        for column, (array, title) in enumerate(zip(arrays, TITLES, strict=True)):
            axes = panels[axis, column]
            axes.set_title(title if axis == 0 else "", fontsize=11)
            axes.set_ylabel(view if column == 0 else "")
            axes.set_xticks([])
            axes.set_yticks([])
            spacing = list(grid.spacing)
            if grid.rank == 3:
                array = np.take(array, grid.shape[axis] // 2, axis=axis)
                array = array if axis == 0 else array[::-1]  # the head is at the top
                del spacing[axis]
            draw_image(axes, array, spacing[0] / spacing[1])
    return figure
