"""Charts of the report that show all methods at once: their ranks, and accuracy against time and folding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from acreg.evaluation.method_result import MethodResult, compared_by
from acreg.evaluation.ranking import Ranking
from acreg.evaluation.tables import metric_title
from acreg.plotting.figures import INK, LINES, Theme, figure_of, shortened
from acreg.report.plots import legend, method_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ranking_plot(results: Sequence[MethodResult], ranking: Ranking, theme: Theme = "light") -> Figure:
    """One row per method at its mean rank, best first; bars on the right join methods that do not differ."""
    count = len(ranking.names)
    figure, panels = figure_of(1, 1, width=10.5, height=0.9 + 0.3 * count, theme=theme)
    axes, styles = panels[0], method_styles(results)
    axes.hlines(range(count), 1, ranking.ranks, color=LINES[theme], linewidth=0.8)
    axes.scatter(ranking.ranks, range(count), s=42, color=[styles[name].colour for name in ranking.names], zorder=3)
    for number, (first, last) in enumerate(ranking.groups):
        at = count + 0.25 + 0.12 * number
        axes.plot([at, at], [first - 0.2, last + 0.2], color=INK[theme], linewidth=3, solid_capstyle="round")
    axes.set_yticks(
        range(count), [f"{shortened(name)}  {rank:.2f}" for name, rank in zip(ranking.names, ranking.ranks)]
    )
    axes.set(xlim=(0.9, count + 0.4 + 0.12 * len(ranking.groups)), xticks=range(1, count + 1))
    axes.invert_yaxis()
    title = metric_title(ranking.metric, "").replace(" ()", "")
    axes.set_xlabel(f"mean rank by {title} over {ranking.pairs} pairs, 1 the best", color=INK[theme], fontsize=9)
    return figure


def cost_plots(results: Sequence[MethodResult], theme: Theme = "light") -> Figure:
    """Mean Dice (without labels, NCC) against seconds and folded voxels, one dot per method with the SD over pairs.

    The row without registration is a line.
    """
    figure, panels = figure_of(1, 2, width=10.5, height=3.6, theme=theme)
    styles = method_styles(results)
    for axes, metric in zip(panels, ("seconds", "folded_percent")):
        costs = []
        for result in results:
            score, cost = result.values(compared_by(results)[0]), result.values(metric)
            both = np.isfinite(score) & np.isfinite(cost)
            if not both.any():
                continue
            mean, spread, style = score[both].mean(), score[both].std(), styles[result.name]
            if result.is_baseline:
                axes.axhline(mean, color=style.colour, linewidth=1.2, linestyle="--")
                continue
            costs.append(cost[both].mean())
            axes.errorbar(costs[-1], mean, spread, fmt=style.marker, color=style.colour, markersize=7)
        if metric == "seconds":
            axes.set_xlim(0.5 * min(costs, default=1), 2 * max(costs, default=1))
            axes.set_xscale("log")
            axes.set_xlabel("seconds a pair", color=INK[theme], fontsize=9)
        else:
            axes.set_xlim(-0.002, 2 * max(0.05, *costs, 0))
            axes.set_xscale("symlog", linthresh=0.01)
            axes.set_xlabel("folded voxels, %", color=INK[theme], fontsize=9)
        axes.set_ylabel(metric_title(compared_by(results)[0], results[0].unit), color=INK[theme], fontsize=9)
        axes.grid(axis="y", color=LINES[theme], linewidth=0.8)
    legend(figure, results, theme)
    return figure
