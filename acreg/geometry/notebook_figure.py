"""A Matplotlib figure that a notebook shows. The module imports Matplotlib: import it where a figure is drawn."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


class NotebookFigure(Figure):
    """A figure without a window; a notebook shows it even if `matplotlib.pyplot` has drawn nothing before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        try:
            self.savefig(stream, format="png")
        except ValueError:  # names of data are no mathematics
            for text in self.findobj(Text):
                text.set_parse_math(False)
            self.savefig(stream, format="png")
        return stream.getvalue()
