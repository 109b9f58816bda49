"""A registration on one page, as in `preview.png`.

Pillow draws it: Matplotlib takes longer to import and to draw than a network takes to register.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pictures
from PIL import ImageChops, ImageDraw, ImageFont

from acreg.plotting.drawing import FIXED_COLOUR, GRID_COLOUR, WARPED_COLOUR, checkerboard, grid_lines, stretch
from acreg.plotting.warped_pair import PairView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, TITLE, GAP = 384, 32, 10
"""Of a panel, of its title and between panels, in pixels."""
FINER = 2
"""Lines are drawn at so many times the size and then reduced, so that they are smooth."""
GROUND = "#10151c"


def preview_png(view: PairView) -> bytes:
    """The picture of `preview_picture` as PNG."""
    stream = io.BytesIO()
    preview_picture(view).save(stream, format="png", compress_level=1)
    return stream.getvalue()


def preview_picture(view: PairView) -> Pictures.Image:
    """Six panels.

    They show the fixed image, the moving image (before), the warped image (after), checkerboards before and after, and
    the deformed grid. With labels, outlines of fixed labels are green, and those of moving and warped labels orange.
    """
    tall = view.fixed.shape[0] * view.aspect / view.fixed.shape[1]
    size = WIDTH, round(WIDTH * min(max(tall, 0.4), 2.0))
    fixed, moving = (view.fixed_labels, FIXED_COLOUR), (view.moving_labels, WARPED_COLOUR)
    panels = {
        "Fixed": _panel(stretch(view.fixed), view.aspect, size, fixed),
        "Moving (before)": _panel(stretch(view.moving), view.moving_aspect, size, moving),
        "Warped (after)": _panel(stretch(view.warped), view.aspect, size, fixed, (view.warped_labels, WARPED_COLOUR)),
        "Checkerboard before": _panel(checkerboard(view.fixed, view.before), view.aspect, size),
        "Checkerboard after": _panel(checkerboard(view.fixed, view.warped), view.aspect, size),
        "Deformed grid": _grid(view.displacement, view.aspect, size),
    }
    column, row = WIDTH + GAP, size[1] + TITLE + GAP
    page = Pictures.new("RGB", (3 * column + GAP, 2 * row), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(17)
    for number, (title, panel) in enumerate(panels.items()):
        left, top = GAP + number % 3 * column, number // 3 * row
        draw.text((left + WIDTH // 2, top + TITLE // 2), title, fill="black", font=font, anchor="mm")
        page.paste(panel, (left + (size[0] - panel.width) // 2, top + TITLE + (size[1] - panel.height) // 2))
    return page


def preview_figure(view: PairView) -> Figure:
    """`preview_picture` as a Matplotlib figure."""
    from acreg.geometry.notebook_figure import NotebookFigure

    picture = preview_picture(view)
    figure = NotebookFigure(figsize=(picture.width / 100, picture.height / 100), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(np.asarray(picture))
    axes.set_axis_off()
    return figure


def _fitted(shape: tuple[int, ...], aspect: float, size: tuple[int, int]) -> tuple[int, int]:
    """The largest size of a picture with `shape` in a panel, in pixels."""
    height, width = shape[0] * aspect, shape[1]
    scale = min(size[0] / width, size[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _panel(
    grey: np.ndarray, aspect: float, size: tuple[int, int], *outlines: tuple[np.ndarray | None, str]
) -> Pictures.Image:
    """A grey picture in [0, 1], with the outline of every label except 0 in a colour."""
    fitted = _fitted(grey.shape, aspect, size)
    panel = _scaled(255 * grey, fitted).convert("RGB")
    for labels, colour in outlines:
        for value in () if labels is None else np.unique(labels):
            if value != 0:
                # Half of the label, interpolated, is its border; a frame of zeros closes it at the picture's border.
                inside = _scaled(255.0 * (labels == value), fitted).point(lambda x: 255 * (x > 127))
                shrunk = Pictures.new("L", fitted)
                frame = (1, 1, fitted[0] - 1, fitted[1] - 1)
                shrunk.paste(inside.crop(frame), frame)
                for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    shrunk = ImageChops.darker(shrunk, ImageChops.offset(inside, *step))
                panel.paste(colour, mask=ImageChops.subtract(inside, shrunk))
    return panel


def _scaled(array: np.ndarray, size: tuple[int, int]) -> Pictures.Image:
    return Pictures.fromarray(np.clip(array, 0, 255).astype(np.uint8)).resize(size, Pictures.Resampling.BILINEAR)


def _grid(displacement: np.ndarray, aspect: float, size: tuple[int, int]) -> Pictures.Image:
    """A regular grid of the fixed image, mapped to the moving image."""
    fitted = _fitted(displacement.shape, aspect, size)
    scale = FINER * np.array(fitted) / (displacement.shape[1], displacement.shape[0])
    canvas = Pictures.new("RGB", (FINER * fitted[0], FINER * fitted[1]), GROUND)
    draw = ImageDraw.Draw(canvas)
    for line in grid_lines(displacement):
        pixels = np.clip((line + 0.5) * scale, -1e6, 1e6)
        draw.line([tuple(point) for point in pixels.tolist()], fill=GRID_COLOUR, width=FINER)
    return canvas.resize(fitted, Pictures.Resampling.BOX)
