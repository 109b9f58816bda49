"""Tables and the figure of the plausibility experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.applications.plausibility.study import Labels, Modification, Outcome, Row
from acreg.io.atomic import atomic_path
from acreg.io.csv_tables import write_table
from acreg.io.documents import write_json
from acreg.plotting.figures import COLOURS, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

FILES = ("table.csv", "table.md", "summary.json", "figure.png")
COLUMNS = ("Modification", "Anatomy", "L_ce", "L_ae median", "L_ae quartiles", "(a) lower")
INK = "#24303c"
GREYS = ("#ffffff", "#cfd6de", "#b4bec9", "#98a5b3")
REMOVED = "#d55e00"


def summarise(outcome: Outcome) -> list[dict[str, Any]]:
    """For each modification: the cross-entropy, the quartiles of the code distance, and how often (a) is lower."""
    plausible = outcome.values("a", "code_distance")
    found = []
    for made in outcome.modifications[0]:
        values = outcome.values(made.key, "code_distance")
        low, median, high = np.percentile(values, [25, 50, 75])
        found.append(
            {
                "key": made.key,
                "name": made.name,
                "plausible": made.plausible,
                "cross_entropy": float(np.mean(outcome.values(made.key, "cross_entropy"))),
                "code_distance_median": float(median),
                "code_distance_quartiles": [float(low), float(high)],
                "code_distance_mean": float(np.mean(values)),
                "masks_where_a_is_lower": None if made.plausible else int((plausible < values).sum()),
            }
        )
    return found


def table_rows(outcome: Outcome) -> list[list[str]]:
    """The summary as text, one row per modification; see `COLUMNS`."""
    rows = []
    for entry in summarise(outcome):
        low, high = entry["code_distance_quartiles"]
        lower = entry["masks_where_a_is_lower"]
        rows.append(
            [
                f"({entry['key']}) {entry['name']}",
                "plausible" if entry["plausible"] else "not plausible",
                f"{entry['cross_entropy']:.4f}",
                f"{entry['code_distance_median']:.3f}",
                f"{low:.3f} to {high:.3f}",
                "" if lower is None else f"{lower} of {len(outcome.references)}",
            ]
        )
    return rows


def write_results(outcome: Outcome, folder: Path, settings: dict[str, Any]) -> list[Path]:
    """Write ``table.csv`` (one row per mask and modification), ``table.md``, ``summary.json`` and ``figure.png``.

    Args:
        outcome: result of `plausibility.run`.
        folder: created if it does not exist.
        settings: settings of the run, for ``summary.json``.
    """
    columns = [field.name for field in dataclasses.fields(Row)]
    write_table(folder / "table.csv", [columns, *(dataclasses.astuple(row) for row in outcome.rows)])
    with atomic_path(folder / "table.md") as path:
        lines = [COLUMNS, ["---"] * len(COLUMNS), *table_rows(outcome)]
        path.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), encoding="utf-8")
    write_json(folder / "summary.json", {"settings": settings, "modifications": summarise(outcome)})
    with atomic_path(folder / "figure.png") as path:
        path.write_bytes(to_png(plausibility_figure(outcome)))
    return [folder / name for name in FILES]


def plausibility_figure(outcome: Outcome) -> Figure:
    """Top: one subject's maps. Bottom: both losses of each mask, and box plots of the code distances."""
    from acreg.geometry.notebook_figure import NotebookFigure

    figure = NotebookFigure(figsize=(12, 7), dpi=120, facecolor="white", layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, 1.35])
    above, below = parts
    shown = _typical(outcome)
    _draw_maps(above, outcome.references[shown], outcome.modifications[shown])
    entropy, distance, boxes = below.subplots(1, 3, width_ratios=[1, 1, 0.8])
    made = outcome.modifications[0]
    colours = dict(zip("abcd", (COLOURS[2], COLOURS[0], COLOURS[1], COLOURS[3])))
    marks = dict(zip("abcd", "osD^"))
    masks = np.arange(1, len(outcome.references) + 1)
    for axes, column in ((entropy, "cross_entropy"), (distance, "code_distance")):
        for index, m in enumerate(made):
            # Equal curves would hide each other, so the markers of the constant loss alternate.
            every = (index, 4) if column == "cross_entropy" else 1
            axes.plot(
                masks,
                outcome.values(m.key, column),
                marker=marks[m.key],
                markersize=5,
                markevery=every,
                linewidth=1,
                color=colours[m.key],
                label=f"({m.key}) {m.name}",
            )
        axes.set_xlabel("mask")
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    entropy.set_ylim(0, 2 * float(np.max(outcome.values("a", "cross_entropy"))))
    entropy.set_title("Cross-entropy: counts pixels", **_title())
    distance.set_title("Squared distance of codes", **_title())
    handles, titles = distance.get_legend_handles_labels()
    below.legend(handles, titles, loc="outside lower center", ncols=4, frameon=False, fontsize=10, labelcolor=INK)
    distance.set_ylim(0, 1.08 * max(row.code_distance for row in outcome.rows) or 1.0)
    drawn = boxes.boxplot(
        [outcome.values(m.key, "code_distance") for m in made],
        tick_labels=[f"({m.key})" for m in made],
        patch_artist=True,
        widths=0.55,
        medianprops={"color": INK, "linewidth": 1.6},
        flierprops={"markersize": 3, "markerfacecolor": INK, "markeredgecolor": "none"},
    )
    for box, m in zip(drawn["boxes"], made):
        box.set(facecolor=colours[m.key], alpha=0.75)
    boxes.set_title(f"The same, {len(masks)} masks", **_title())
    boxes.set_ylim(distance.get_ylim())
    for axes in (entropy, distance, boxes):
        axes.grid(axis="y", color="#d5dce4", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _title() -> dict[str, Any]:
    return {"color": INK, "fontsize": 11, "loc": "left", "fontweight": "bold"}


def _typical(outcome: Outcome) -> int:
    """The subject whose code distances are nearest to the medians of all subjects."""
    columns = np.stack([outcome.values(m.key, "code_distance") for m in outcome.modifications[0]])
    return int(np.argmin(np.abs(columns - np.median(columns, axis=1, keepdims=True)).sum(axis=0)))


def _draw_maps(figure: SubFigure, reference: Labels, made: Sequence[Modification]) -> None:
    from matplotlib.colors import ListedColormap

    panels = figure.subplots(1, 1 + len(made))
    classes = int(reference.max()) + 1
    shades = [GREYS[0], *(GREYS[1 + i % (len(GREYS) - 1)] for i in range(classes - 1))]
    titles = ["reference", *(f"({m.key}) {m.name}" for m in made)]
    for axes, title, labels in zip(panels, titles, [reference, *(m.labels for m in made)]):
        picture = np.where(labels != reference, classes, reference)
        axes.imshow(picture, cmap=ListedColormap([*shades, REMOVED]), vmin=0, vmax=classes, interpolation="nearest")
        axes.set_title(title, color=INK, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#d5dce4")
    changed = int((made[0].labels != reference).sum())
    figure.supxlabel(f"{changed} pixels, in colour, become background in each of (a) to (d)", color=INK, fontsize=9)
