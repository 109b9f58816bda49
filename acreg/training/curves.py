"""The report of a training run: its curves and its best numbers in one self-contained HTML file."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acreg.io import atomic_path
from acreg.plotting import page
from acreg.plotting.figures import to_png
from acreg.training.pictures import COLUMNS
from acreg.training.schema import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from acreg.geometry.notebook_figure import NotebookFigure

WEIGHT = "weight_"
"""Prefix of the names of logged loss weights."""

History = Sequence[Mapping[str, float]]


def training_curves(history: History) -> NotebookFigure:
    """A figure with one small plot for each logged number: training in blue, validation in orange, over the steps.

    Trained loss weights share one plot, with a logarithmic axis and one colour per loss.
    """
    from acreg.geometry.notebook_figure import NotebookFigure

    logged = [name for name in _logged(history) if not name.startswith("val_")]
    weights = [name for name in logged if name.startswith(WEIGHT)]
    names = [name for name in logged if name not in weights]
    count = len(names) + bool(weights)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = NotebookFigure(figsize=(3.6 * columns, 2.5 * rows), dpi=90, layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        for column, colour in ((name, "tab:blue"), (f"val_{name}", "tab:orange")):
            _plot(axes, history, column, color=colour)
        _finish(axes, name)
    if weights:
        axes = figure.add_subplot(rows, columns, count)
        for index, name in enumerate(weights):  # in colours other than blue and orange
            _plot(axes, history, name, color=f"C{index + 2}", label=name.removeprefix(WEIGHT))
        axes.set_yscale("log")
        axes.legend(fontsize=6, frameon=False)
        _finish(axes, "weights of the losses")
    return figure


def _plot(axes: Axes, history: History, column: str, **style: Any) -> None:
    points = [(row["step"], row[column]) for row in history if column in row]
    if points:
        axes.plot(*zip(*points), marker="." if len(points) < 20 else None, linewidth=1.2, **style)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)


def write_report(
    path: Path, recipe: Recipe, data: str, stages: Mapping[str, tuple[int, History]], pairs: bytes | None = None
) -> None:
    """Write the HTML report.

    Arguments:
        path: the file.
        recipe: the recipe that was trained.
        data: the training data, in words.
        stages: by title of the stage, its best epoch (from 1) and one row per epoch.
        pairs: PNG of validation pairs, see `acreg.training.pictures.draw_pairs`.
    """
    about = f'<p>{html.escape(recipe.description)}</p><p class="soft">{html.escape(data)}</p>'
    parts = [f"<header><h1>{html.escape(recipe.name)}</h1>{about}</header>"]
    for number, (title, (best_epoch, history)) in enumerate(stages.items(), 1):
        best = next((row for row in history if row["epoch"] == best_epoch), history[-1])
        rows = [
            [html.escape(name), f"{best.get(name, math.nan):.5g}", f"{history[-1].get(name, math.nan):.5g}"]
            for name in _logged(history)
        ]
        body = page.image(to_png(training_curves(history)), "training curves")
        body += page.html_table(["number", "best epoch", "last epoch"], rows)
        note = (
            "Training is blue, validation orange; the horizontal axis counts steps. The preset holds epoch "
            f"{best_epoch} of {len(history)}."
        )
        parts.append(page.section(f"stage{number}", title, body, note))
    if pairs is not None:
        note = f"Each row is a pair, registered by the preset: {COLUMNS}; then further outputs of the network, if any."
        parts.append(page.section("pairs", "Validation pairs", page.image(pairs, "registered pairs"), note))
    parts.append(page.section("recipe", "Recipe", f"<pre>{html.escape(recipe.to_yaml())}</pre>"))
    text = page.page(recipe.name, "".join(parts))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _logged(history: History) -> list[str]:
    """The columns to show: losses and scores without counters; weights only once, because validation has none."""
    names = dict.fromkeys(name for row in history for name in row)
    hidden = ("epoch", "step", "seconds")
    return [name for name in names if name not in hidden and not name.startswith(f"val_{WEIGHT}")]
