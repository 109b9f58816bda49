"""Charts of methods as Matplotlib figures, with a transparent background, in a light and a dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from acreg.evaluation.method_result import MethodResult, compared_by
from acreg.evaluation.statistics import EFFECT_SYMBOLS, WITH_INTERVAL, Comparison
from acreg.evaluation.tables import leader, metric_title
from acreg.plotting.figures import COLOURS, GROUND, INK, Theme, figure_of, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class MethodStyle(NamedTuple):
    """The style of a method, for its dots and its box."""

    colour: str
    marker: str
    hatch: str


def method_styles(results: Sequence[MethodResult]) -> dict[str, MethodStyle]:
    """One style per method; repeated colours get another marker and hatch; the unregistered row is grey."""
    forms = cycle(zip("osD^v", ("", "////", "....", "xxxx", "----")))
    styles = (MethodStyle(colour, *form) for form in forms for colour in COLOURS[:-1])
    return {
        result.name: MethodStyle(COLOURS[-1], "o", "") if result.is_baseline else next(styles) for result in results
    }


def box_plots(results: Sequence[MethodResult], theme: Theme = "light") -> Figure:
    """One panel per metric with one box per method, and every pair as a dot (mean over labels)."""
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
    return figure


def label_box_plots(results: Sequence[MethodResult], metric: str, theme: Theme = "light") -> Figure:
    """One group of boxes per label, with one box per method."""
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
    return figure


def forest_plots(results: Sequence[MethodResult], comparisons: Sequence[Comparison], theme: Theme = "light") -> Figure:
    """One panel per metric with one row per pair of methods: the difference between the first and the second.

    For Welch's and Tukey's tests, this is the difference of the means with its 95% interval; for other tests, the
    effect. A dot has the colour of the better method if the difference is significant (`leader`); otherwise it is open.
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
    return figure


def _forest(axes: Axes, rows: Sequence[Comparison], styles: dict[str, MethodStyle], theme: Theme) -> None:
    """The rows of one metric, from top to bottom."""
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


def legend(figure: Figure, results: Sequence[MethodResult], theme: Theme, dots: bool = True) -> None:
    """The legend with the methods' dots or boxes above the panels; the figure grows if it takes many lines."""
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


def _boxes(
    axes: Axes,
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
