"""Charts of the report as PNG bytes, with transparent ground, in a light and a dark theme."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from itertools import cycle
from typing import Any, Literal, NamedTuple

import numpy as np

from acreg.names import printable
from acreg.report.results import MethodResult, compared_by
from acreg.report.statistics import EFFECT_SYMBOLS, WITH_INTERVAL, Comparison
from acreg.report.tables import leader, metric_title

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, Theme] = ("light", "dark")
INK = {"light": "#24303c", "dark": "#dfe6ee"}
LINES = {"light": "#d5dce4", "dark": "#39434f"}
GROUND = {"light": "#ffffff", "dark": "#1a2129"}
"""Of the report's cards, for what must hide a line behind it."""
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8cdd", "#999999")
"""Told apart by colour-blind readers (after Okabe and Ito)."""


class MethodStyle(NamedTuple):
    """How a method is drawn: as a dot, and as a box."""

    colour: str
    marker: str
    hatch: str


def method_styles(results: Sequence[MethodResult]) -> dict[str, MethodStyle]:
    """A style a method: where the colours come again, with another marker and hatch; grey for the unregistered row."""
    forms = cycle(zip("osD^v", ("", "////", "....", "xxxx", "----")))
    styles = (MethodStyle(colour, *form) for form in forms for colour in COLOURS[:-1])
    return {
        result.name: MethodStyle(COLOURS[-1], "o", "") if result.is_baseline else next(styles) for result in results
    }


def box_plots(results: Sequence[MethodResult], theme: Theme) -> bytes:
    """A panel a metric, a box a method, with every pair as a dot (mean over labels)."""
    metrics = compared_by(results)
    lines = -(-len(metrics) // 2)
    figure, panels = figure_of(lines, 2, width=10.5, height=max(2.3, 0.62 * len(results) + 1.1) * lines, theme=theme)
    styles = method_styles(results)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    for axes, metric in zip(panels, metrics):
        columns = [_finite(result.values(metric)) for result in results]
        _boxes(axes, columns, range(len(results)), [styles[r.name] for r in results], theme, 0.55)
        axes.set_yticks(range(len(results)), [shortened(r.name) for r in results])
        axes.invert_yaxis()
        axes.set_title(
            metric_title(metric, results[0].unit), color=INK[theme], fontsize=11, loc="left", fontweight="bold"
        )
    return to_png(figure)


def label_box_plots(results: Sequence[MethodResult], metric: str, theme: Theme) -> bytes:
    """A group a label, a box a method."""
    names = results[0].label_names
    height = 1.3 + len(names) * max(0.55, 0.2 * len(results))
    figure, panels = figure_of(1, 1, width=10.5, height=height, theme=theme)
    axes, styles = panels[0], method_styles(results)
    step = 0.8 / len(results)
    for index, result in enumerate(results):
        at = [group + (index - (len(results) - 1) / 2) * step for group in range(len(names))]
        columns = [_finite(result.values(metric, label)) for label in names]
        _boxes(axes, columns, at, [styles[result.name]] * len(at), theme, 0.8 * step, dots=False)
    axes.set_yticks(range(len(names)), [shortened(name) for name in names.values()])
    axes.invert_yaxis()
    axes.set_xlabel(metric_title(metric, results[0].unit), color=INK[theme])
    legend(figure, results, theme, dots=False)
    return to_png(figure)


def forest_plots(results: Sequence[MethodResult], comparisons: Sequence[Comparison], theme: Theme) -> bytes:
    """A panel a metric, a row each two methods: how far the first is from the second.

    Welch's and Tukey's tests show the difference of the means with its 95% interval, the others their effect. A dot has
    the colour of the better method where that is significant (`leader`), else it is open.
    """
    metrics = list(dict.fromkeys(c.metric for c in comparisons))
    couples = list(dict.fromkeys((c.first, c.second) for c in comparisons))
    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    height = lines * (0.19 * len(couples) + 0.9) + 0.4
    figure, panels = figure_of(lines, columns, width=10.5, height=height, theme=theme)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    for index, (axes, metric) in enumerate(zip(panels, metrics)):
        found = {(c.first, c.second): c for c in comparisons if c.metric == metric}
        _forest(axes, [found[couple] for couple in couples], method_styles(results), theme)
        names = [f"{shortened(first, 22)} − {shortened(second, 22)}" for first, second in couples]
        axes.set_yticks(range(len(couples)), names if index % columns == 0 else [""] * len(couples), fontsize=8)
        axes.set_ylim(len(couples) - 0.4, -0.6)
        axes.set_title(
            metric_title(metric, results[0].unit), color=INK[theme], fontsize=11, loc="left", fontweight="bold"
        )
    legend(figure, results, theme)
    return to_png(figure)


def _forest(axes: Any, rows: Sequence[Comparison], styles: dict[str, MethodStyle], theme: Theme) -> None:
    """The rows of one metric, from above."""
    axes.axvline(0, color=INK[theme], linewidth=1, zorder=1)
    interval = rows[0].test in WITH_INTERVAL
    for at, row in enumerate(rows):
        value = (row.low + row.high) / 2 if interval else row.effect
        open_dot = MethodStyle("none", "o", "")
        colour, marker, _ = {1: styles[row.first], -1: styles[row.second], 0: open_dot}[leader(row)]
        line = INK[theme] if colour == "none" else colour
        start, end = (row.low, row.high) if interval else (0, value)
        axes.plot([start, end], [at, at], color=line, linewidth=1.4 if interval else 0.8, zorder=2)
        ground = GROUND[theme] if colour == "none" else colour
        axes.plot(value, at, marker, markersize=5, markerfacecolor=ground, markeredgecolor=line, zorder=3)
    if interval:
        axes.set_xlabel("difference of means, 95% interval", color=INK[theme], fontsize=8)
        axes.locator_params(axis="x", nbins=5)
    else:
        axes.set_xlabel(f"effect {EFFECT_SYMBOLS[rows[0].test]}", color=INK[theme], fontsize=8)
        axes.set_xlim(-1.08, 1.08)


def legend(figure: Any, results: Sequence[MethodResult], theme: Theme, dots: bool = True) -> None:
    """The methods and their dots or boxes, above the panels, for which the figure grows where it takes many lines."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    styles, names = method_styles(results), [shortened(r.name) for r in results]
    handles: list[Any] = [
        Line2D([], [], linestyle="none", marker=style.marker, color=style.colour)
        if dots
        else Patch(facecolor=style.colour, hatch=style.hatch, edgecolor=GROUND[theme], alpha=0.75)
        for style in (styles[r.name] for r in results)
    ]
    columns = max(1, min(len(results), int(figure.get_figwidth() / (0.6 + 0.075 * max(map(len, names))))))
    figure.set_figheight(figure.get_figheight() + 0.19 * max(0, -(-len(results) // columns) - 2))
    figure.legend(
        handles, names, loc="outside upper left", ncols=columns, frameon=False, labelcolor=INK[theme], fontsize=9
    )


def to_png(figure: Any, **options: Any) -> bytes:
    """A Matplotlib figure as PNG bytes, every text in it as it is.

    Names come with data: Matplotlib would take ``$`` in them for mathematics, and fail where it cannot read that.
    """
    import matplotlib
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):  # Matplotlib's own formatter of these writes mathematics
            if isinstance(axis.get_major_formatter(), LogFormatter):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter(Plain())
                colours = {k: v for k, v in axis.get_tick_params().items() if k == "labelcolor" and v is not None}
                axis.set_tick_params(which="minor", labelsize=8, **colours)
    stream = io.BytesIO()
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # a letter that the font lacks is drawn as a box
        for text in figure.findobj(Text):
            text.set_parse_math(False)
            text.set_usetex(False)
        figure.savefig(stream, format="png", **options)
    return stream.getvalue()


def figure_of(rows: int, columns: int, width: float, height: float, theme: Theme) -> tuple[Any, list[Any]]:
    """A figure of so many panels (inches), and the panels row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, facecolor="none", layout="constrained")
    FigureCanvasAgg(figure)
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


def _boxes(
    axes: Any,
    columns: Sequence[np.ndarray],
    positions: Sequence[float] | range,
    styles: Sequence[MethodStyle],
    theme: Theme,
    width: float,
    dots: bool = True,
) -> None:
    drawn = axes.boxplot(
        list(columns),
        positions=list(positions),
        orientation="horizontal",
        widths=width,
        patch_artist=True,
        showfliers=not dots,
        showmeans=True,
        manage_ticks=False,
        medianprops={"color": INK[theme], "linewidth": 1.6},
        whiskerprops={"color": INK[theme], "linewidth": 0.9},
        capprops={"color": INK[theme], "linewidth": 0.9},
        meanprops={"marker": "D", "markersize": 3.5, "markerfacecolor": "white", "markeredgecolor": INK[theme]},
        flierprops={
            "marker": "o",
            "markersize": 2.5,
            "markerfacecolor": INK[theme],
            "markeredgecolor": "none",
            "alpha": 0.5,
        },
    )
    for box, style in zip(drawn["boxes"], styles):
        box.set(facecolor=style.colour, alpha=0.75, hatch=style.hatch, edgecolor=GROUND[theme])
    if dots:
        rng = np.random.default_rng(0)  # jitter only
        for values, at in zip(columns, positions):
            jitter = rng.uniform(-0.3, 0.3, values.size) * width
            axes.scatter(values, at + jitter, s=6, color=INK[theme], alpha=0.35, linewidths=0, zorder=3)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def shortened(name: str, length: int = 34) -> str:
    """A name on one line, without its middle if it is long."""
    name = printable(" ".join(name.split()))
    if len(name) <= length:
        return name
    end = (length - 1) // 2  # folders differ at the start, options of a method at the end
    return f"{name[: length - 1 - end]}…{name[-end:]}"
