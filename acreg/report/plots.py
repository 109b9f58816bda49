"""Charts of the report as PNG bytes, with transparent ground, in a light and a dark theme."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from acreg.metrics import LABEL_METRICS
from acreg.report.results import MethodResult
from acreg.report.tables import metric_title

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, Theme] = ("light", "dark")
INK = {"light": "#24303c", "dark": "#dfe6ee"}
LINES = {"light": "#d5dce4", "dark": "#39434f"}
ROWS = -(-len(LABEL_METRICS) // 2)
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8cdd", "#999999")
"""Told apart by colour-blind readers (after Okabe and Ito)."""


def method_colours(results: Sequence[MethodResult]) -> dict[str, str]:
    """A colour a method; grey for the unregistered row."""
    colours = iter(COLOURS[:-1] * (1 + len(results) // (len(COLOURS) - 1)))
    return {result.name: COLOURS[-1] if result.is_baseline else next(colours) for result in results}


def box_plots(results: Sequence[MethodResult], theme: Theme) -> bytes:
    """A panel a metric, a box a method, with every pair as a dot (mean over labels)."""
    figure, panels = _figure(ROWS, 2, width=10.5, height=max(2.3, 0.62 * len(results) + 1.1) * ROWS, theme=theme)
    colours = method_colours(results)
    for axes in panels[len(LABEL_METRICS) :]:
        axes.set_visible(False)
    for axes, metric in zip(panels, LABEL_METRICS):
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
    figure, panels = _figure(1, 1, width=10.5, height=height, theme=theme)
    axes, colours = panels[0], method_colours(results)
    step = 0.8 / len(results)
    for index, result in enumerate(results):
        at = [group + (index - (len(results) - 1) / 2) * step for group in range(len(names))]
        columns = [_finite(result.values(metric, label)) for label in names]
        _boxes(axes, columns, at, [colours[result.name]] * len(at), theme, 0.8 * step, dots=False)
    axes.set_yticks(range(len(names)), list(names.values()))
    axes.invert_yaxis()
    axes.set_xlabel(metric_title(metric, results[0].unit), color=INK[theme])
    handles = [_patch(colours[r.name]) for r in results]
    figure.legend(
        handles,
        [_short(r.name) for r in results],
        loc="outside upper left",
        ncols=min(len(results), 6),
        frameon=False,
        labelcolor=INK[theme],
        fontsize=9,
    )
    return to_png(figure)


def to_png(figure: Any, **options: Any) -> bytes:
    """A Matplotlib figure as PNG bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", **options)
    return stream.getvalue()


def _figure(rows: int, columns: int, width: float, height: float, theme: Theme) -> tuple[Any, list[Any]]:
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
    return name if len(name) <= length else "…" + name[1 - length :]
