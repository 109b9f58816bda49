"""The report of a training: its curves and its best numbers in one HTML file without outside parts."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acreg.experiments.pictures import COLUMNS
from acreg.experiments.schema import Recipe
from acreg.io import atomic_path

WEIGHT = "weight_"
"""How the names of logged weights of losses begin."""

History = Sequence[Mapping[str, float]]

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "img{max-width:100%}table{border-collapse:collapse}td,th{padding:.15rem .8rem;text-align:right;"
    "border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}pre{background:#f6f6f6;padding:1rem}"
)


def draw_curves(history: History) -> bytes:
    """A PNG with one small plot a logged number: training in blue, validation in orange, against the step.

    Trained weights of losses share one plot, with a logarithmic axis and a colour a loss.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logged = [name for name in _logged(history) if not name.startswith("val_")]
    weights = [name for name in logged if name.startswith(WEIGHT)]
    names = [name for name in logged if name not in weights]
    count = len(names) + bool(weights)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.6 * columns, 2.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        for column, colour in ((name, "tab:blue"), (f"val_{name}", "tab:orange")):
            _plot(axes, history, column, color=colour)
        _finish(axes, name)
    if weights:
        axes = figure.add_subplot(rows, columns, count)
        for index, name in enumerate(weights):  # in other colours than blue and orange
            _plot(axes, history, name, color=f"C{index + 2}", label=name.removeprefix(WEIGHT))
        axes.set_yscale("log")
        axes.legend(fontsize=6, frameon=False)
        _finish(axes, "weights of the losses")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def _plot(axes: Any, history: History, column: str, **style: Any) -> None:
    points = [(row["step"], row[column]) for row in history if column in row]
    if points:
        axes.plot(*zip(*points), marker="." if len(points) < 20 else None, linewidth=1.2, **style)


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)


def write_report(
    path: Path, recipe: Recipe, stages: Mapping[str, tuple[int, History]], pairs: bytes | None = None
) -> None:
    """Write the HTML report.

    Arguments:
        path: the file.
        recipe: what was trained.
        stages: for each stage's title, its best epoch (from 1) and a row an epoch.
        pairs: PNG of validation pairs, see `acreg.experiments.pictures.draw_pairs`.
    """
    parts = [f"<h1>{html.escape(recipe.name)}</h1>", f"<p>{html.escape(recipe.description)}</p>"]
    for title, (best_epoch, history) in stages.items():
        picture = base64.b64encode(draw_curves(history)).decode()
        best = next((row for row in history if row["epoch"] == best_epoch), history[-1])
        parts += [
            f"<h2>{html.escape(title)}</h2>",
            f"<p>Training is blue, validation orange; the horizontal axis counts steps. The preset holds epoch "
            f"{best_epoch} of {len(history)}.</p>",
            f'<img alt="training curves" src="data:image/png;base64,{picture}">',
            "<table><tr><th>number</th><th>best epoch</th><th>last epoch</th></tr>",
            *(
                f"<tr><td>{html.escape(name)}</td><td>{best.get(name, float('nan')):.5g}</td>"
                f"<td>{history[-1].get(name, float('nan')):.5g}</td></tr>"
                for name in _logged(history)
            ),
            "</table>",
        ]
    if pairs is not None:
        picture = base64.b64encode(pairs).decode()
        parts += [
            "<h2>Validation pairs</h2>",
            f"<p>A row a pair, by the preset: {COLUMNS}; then what else the network makes.</p>",
            f'<img alt="registered pairs" src="data:image/png;base64,{picture}">',
        ]
    parts += ["<h2>Recipe</h2>", f"<pre>{html.escape(recipe.to_yaml())}</pre>"]
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(recipe.name)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _logged(history: History) -> list[str]:
    """The columns to show: losses and scores, not the counters, and weights once: validation has none of its own."""
    names = dict.fromkeys(name for row in history for name in row)
    hidden = ("epoch", "step", "seconds")
    return [name for name in names if name not in hidden and not name.startswith(f"val_{WEIGHT}")]
