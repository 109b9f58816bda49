"""A registration on one page, as in `preview.png`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acreg.plotting.drawing import (
    FIXED_COLOUR,
    WARPED_COLOUR,
    PairView,
    checkerboard,
    draw_contours,
    draw_grid,
    draw_image,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def preview_figure(view: PairView) -> Figure:
    """A Matplotlib figure of six panels.

    They show the fixed image, the moving image (before), the warped image (after), checkerboards before and after, and
    the deformed grid. With labels, outlines of fixed labels are green, and those of moving and warped labels orange.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tall = view.fixed.shape[0] * view.aspect / view.fixed.shape[1]
    figure = Figure(
        figsize=(10.8, 2 * (3.5 * min(max(tall, 0.4), 2.0) + 0.35)), dpi=110, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 3).ravel()
    titles = (
        "Fixed",
        "Moving (before)",
        "Warped (after)",
        "Checkerboard before",
        "Checkerboard after",
        "Deformed grid",
    )
    for axes, title in zip(panels, titles):
        axes.set_title(title, fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
    draw_image(panels[0], view.fixed, view.aspect)
    draw_contours(panels[0], view.fixed_labels, FIXED_COLOUR)
    draw_image(panels[1], view.moving, view.moving_aspect)
    draw_contours(panels[1], view.moving_labels, WARPED_COLOUR)
    draw_image(panels[2], view.warped, view.aspect)
    draw_contours(panels[2], view.fixed_labels, FIXED_COLOUR)
    draw_contours(panels[2], view.warped_labels, WARPED_COLOUR)
    for axes, image in ((panels[3], view.before), (panels[4], view.warped)):
        axes.imshow(checkerboard(view.fixed, image), cmap="gray", vmin=0, vmax=1, aspect=view.aspect)
    draw_grid(panels[5], view.displacement, view.aspect)
    return figure
