"""Matplotlib figures: colours, a light and a dark theme, and figures as PNG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from acreg.errors import quiet
from acreg.names import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, Theme] = ("light", "dark")
INK = {"light": "#24303c", "dark": "#dfe6ee"}
LINES = {"light": "#d5dce4", "dark": "#39434f"}
GROUND = {"light": "#ffffff", "dark": "#1a2129"}
"""Background colours of the report's cards, for elements that must hide a line behind them."""
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8cdd", "#999999")
"""Colours that colour-blind readers can distinguish (after Okabe and Ito)."""


def to_png(figure: Figure, **options: Any) -> bytes:
    """A Matplotlib figure as PNG bytes, with every text shown literally.

    Names come from data: Matplotlib would interpret ``$`` in them as mathematics, and fail if it cannot parse them.
    """
    import matplotlib
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):  # Matplotlib's own formatter for these writes mathematics
            if isinstance(axis.get_major_formatter(), LogFormatter):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter(Plain())
                colours = {k: v for k, v in axis.get_tick_params().items() if k == "labelcolor" and v is not None}
                axis.set_tick_params(which="minor", labelsize=8, **colours)
    stream = io.BytesIO()
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}), quiet(UserWarning):
        # Matplotlib warns that the font lacks a character, and draws a box
        for text in figure.findobj(Text):
            text.set_parse_math(False)
            text.set_usetex(False)
        figure.savefig(stream, format="png", **options)
    return stream.getvalue()


def figure_of(rows: int, columns: int, width: float, height: float, theme: Theme) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns panels (sizes in inches), and the panels row by row."""
    from acreg.geometry.notebook_figure import NotebookFigure

    figure = NotebookFigure(figsize=(width, height), dpi=130, facecolor="none", layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for axes in panels:
        axes.set_facecolor("none")
        axes.grid(axis="x", color=LINES[theme], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK[theme], length=0, labelsize=9)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(LINES[theme])
    return figure, panels


def shortened(name: str, length: int = 34) -> str:
    """A name on one line, without its middle if it is long."""
    name = printable(" ".join(name.split()))
    if len(name) <= length:
        return name
    end = (length - 1) // 2  # folders differ at the start, options of a method at the end of a name
    return f"{name[: length - 1 - end]}…{name[-end:]}"
