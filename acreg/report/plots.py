"""Charts of the report as PNG bytes, with transparent ground, in a light and a dark theme."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from acreg.report.results import MethodResult, measured
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


def method_colours(results: Sequence[MethodResult]) -> dict[str, str]:
    """A colour a method; grey for the unregistered row."""
    colours = iter(COLOURS[:-1] * (1 + len(results) // (len(COLOURS) - 1)))
    return {result.name: COLOURS[-1] if result.is_baseline else next(colours) for result in results}


def box_plots(results: Sequence[MethodResult], theme: Theme) -> bytes:
    """A panel a metric, a box a method, with every pair as a dot (mean over labels)."""
    metrics = measured(results)
    lines = -(-len(metrics) // 2)
    figure, panels = figure_of(lines, 2, width=10.5, height=max(2.3, 0.62 * len(results) + 1.1) * lines, theme=theme)
    colours = method_colours(results)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    for axes, metric in zip(panels, metrics):
        columns = [_finite(result.values(metric)) for result in results]
        _boxes(axes, columns, range(len(results)), [colours[r.name] for r in results], theme, 0.55)
        axes.set_yticks(range(len(results)), [_short(r.name) for r in results])
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
    axes, colours = panels[0], method_colours(results)
    step = 0.8 / len(results)
    for index, result in enumerate(results):
        at = [group + (index - (len(results) - 1) / 2) * step for group in range(len(names))]
        columns = [_finite(result.values(metric, label)) for label in names]
        _boxes(axes, columns, at, [colours[result.name]] * len(at), theme, 0.8 * step, dots=False)
    axes.set_yticks(range(len(names)), list(names.values()))
    axes.invert_yaxis()
    axes.set_xlabel(metric_title(metric, results[0].unit), color=INK[theme])
    legend(figure, results, theme)
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
        _forest(axes, [found[couple] for couple in couples], method_colours(results), theme)
        names = [f"{_short(first, 22)} − {_short(second, 22)}" for first, second in couples]
        axes.set_yticks(range(len(couples)), names if index % columns == 0 else [""] * len(couples), fontsize=8)
        axes.set_ylim(len(couples) - 0.4, -0.6)
        axes.set_title(
            metric_title(metric, results[0].unit), color=INK[theme], fontsize=11, loc="left", fontweight="bold"
        )
    legend(figure, results, theme)
    return to_png(figure)


def _forest(axes: Any, rows: Sequence[Comparison], colours: dict[str, str], theme: Theme) -> None:
    """The rows of one metric, from above."""
    axes.axvline(0, color=INK[theme], linewidth=1, zorder=1)
    interval = rows[0].test in WITH_INTERVAL
    for at, row in enumerate(rows):
        value = (row.low + row.high) / 2 if interval else row.effect
        colour = {1: colours[row.first], -1: colours[row.second], 0: "none"}[leader(row)]
        line = INK[theme] if colour == "none" else colour
        start, end = (row.low, row.high) if interval else (0, value)
        axes.plot([start, end], [at, at], color=line, linewidth=1.4 if interval else 0.8, zorder=2)
        ground = GROUND[theme] if colour == "none" else colour
        axes.plot(value, at, "o", markersize=5, markerfacecolor=ground, markeredgecolor=line, zorder=3)
    if interval:
        axes.set_xlabel("difference of means, 95% interval", color=INK[theme], fontsize=8)
        axes.locator_params(axis="x", nbins=5)
    else:
        axes.set_xlabel(f"effect {EFFECT_SYMBOLS[rows[0].test]}", color=INK[theme], fontsize=8)
        axes.set_xlim(-1.08, 1.08)


def legend(figure: Any, results: Sequence[MethodResult], theme: Theme) -> None:
    """The methods and their colours, above the panels."""
    colours = method_colours(results)
    figure.legend(
        [_patch(colours[r.name]) for r in results],
        [_short(r.name) for r in results],
        loc="outside upper left",
        ncols=min(len(results), 6),
        frameon=False,
        labelcolor=INK[theme],
        fontsize=9,
    )


def to_png(figure: Any, **options: Any) -> bytes:
    """A Matplotlib figure as PNG bytes."""
    stream = io.BytesIO()
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
    colours: Sequence[str],
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
    for box, colour in zip(drawn["boxes"], colours):
        box.set(facecolor=colour, alpha=0.75, edgecolor=colour)
    if dots:
        rng = np.random.default_rng(0)  # jitter only
        for values, at in zip(columns, positions):
            jitter = rng.uniform(-0.3, 0.3, values.size) * width
            axes.scatter(values, at + jitter, s=6, color=INK[theme], alpha=0.35, linewidths=0, zorder=3)


def _patch(colour: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, alpha=0.75)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _short(name: str, length: int = 34) -> str:
    if len(name) <= length:
        return name
    end = (length - 1) // 2  # folders differ at the start, options of a method at the end
    return f"{name[: length - 1 - end]}…{name[-end:]}"
