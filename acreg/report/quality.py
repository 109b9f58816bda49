"""The files that ``acreg quality`` writes at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr

from acreg.data.records import read_cells
from acreg.geometry import unregistered
from acreg.io import read_labelled
from acreg.io.atomic import atomic_path
from acreg.io.documents import write_json
from acreg.plotting.drawing import WARPED_COLOUR, draw_contours, draw_image, view_pair
from acreg.plotting.figures import COLOURS, to_png

EXAMPLES = 6
"""Number of segmentations that are drawn, from the lowest to the highest predicted Dice in equal steps of rank."""


def write_quality(table: Path, threshold: float, folder: Path) -> list[str]:
    """Write ``summary.json`` and ``quality.png``, the histogram of the predicted Dice with examples.

    If the table has true Dice values, the agreement of the prediction is added: Pearson's correlation, if there are
    at least three different values, and the mean absolute error.

    Args:
        table: ``quality.csv``.
        threshold: of the predicted Dice, see `acreg.applications.atlases.quality`.
        folder: to write to.

    Returns:
        The lines to print.
    """
    header, *cells = read_cells(table, "table of quality")
    rows = [dict(zip(header, row, strict=True)) for row in cells]
    predicted = np.array([float(row["predicted_dice"]) for row in rows])
    median = float(np.median(predicted))
    accepted = int((predicted >= threshold).sum())
    summary: dict[str, Any] = {
        "images": len(rows),
        "threshold": threshold,
        "accepted": accepted,
        "rejected": len(rows) - accepted,
        "median_predicted_dice": median,
    }
    lines = [f"Predicted Dice: median {median:.3f}; {accepted} of {len(rows)} accepted (at least {threshold:g})"]
    known = np.array([row["true_dice"] != "" for row in rows])
    true = np.array([float(row["true_dice"] or "nan") for row in rows])
    if known.any():
        error = float(np.abs(predicted - true)[known].mean())
        summary["with_truth"] = {"images": int(known.sum()), "mean_absolute_error": error}
        said = f"mean absolute error {error:.3f}"
        if known.sum() > 2 and np.ptp(true[known]) > 0 and np.ptp(predicted[known]) > 0:
            correlation = float(pearsonr(predicted[known], true[known]).statistic)
            summary["with_truth"]["correlation"] = correlation
            said += f", correlation {correlation:.3f}"
        lines.append(f"Against the true Dice of {known.sum()} images: {said}")
    write_json(folder / "summary.json", summary)
    picture = folder / "quality.png"
    with atomic_path(picture) as temporary:
        temporary.write_bytes(_draw(rows, predicted, true, threshold))
    return [*lines, f"Histogram with examples: {picture}"]


def _draw(rows: list[dict[str, str]], predicted: NDArray[Any], true: NDArray[Any], threshold: float) -> bytes:
    from matplotlib.figure import Figure

    known = np.isfinite(true)
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.4))
    above, below = parts
    order = np.argsort(predicted, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).round().astype(int))]
    for axes, number in zip(np.ravel(above.subplots(1, len(shown))), shown, strict=True):
        _draw_example(axes, rows[number], predicted[number], true[number], threshold)
    panels = np.ravel(below.subplots(1, 2 if known.any() else 1))
    low, high = min(predicted.min(), 0.9 * threshold), max(predicted.max(), threshold)
    step = (high - low) / 40
    bins = threshold + step * np.arange(np.floor((low - threshold) / step), np.ceil((high - threshold) / step) + 2)
    for chosen, colour, name in (
        (predicted >= threshold, COLOURS[2], "accepted"),
        (predicted < threshold, COLOURS[5], "rejected"),
    ):
        panels[0].hist(predicted[chosen], bins, color=colour, label=f"{name}: {chosen.sum()}")
    panels[0].axvline(threshold, color="0.3", linewidth=0.8)
    panels[0].set_xlabel("Predicted Dice")
    panels[0].set_ylabel("Images")
    panels[0].legend(loc="upper left")
    if known.any():
        panels[1].plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
        panels[1].scatter(true[known], predicted[known], s=12, color=COLOURS[0], alpha=0.6)
        low = min(true[known].min(), predicted[known].min())
        panels[1].set(xlabel="True Dice", ylabel="Predicted Dice", xlim=(low - 0.02, 1.005), ylim=(low - 0.02, 1.005))
    return to_png(figure, dpi=120)


def _draw_example(axes: Any, row: dict[str, str], predicted: float, true: float, threshold: float) -> None:
    of_label = "predicted_dice_"
    values = [0, *(int(name.removeprefix(of_label)) for name in row if name.startswith(of_label))]
    image, labels = read_labelled(row["image"], row["labels"], values)
    view = view_pair(unregistered(fixed=image, moving=image), fixed=image, moving=image, fixed_labels=labels)
    draw_image(axes, view.fixed, view.aspect)
    draw_contours(axes, view.fixed_labels, WARPED_COLOUR)
    said = f"{predicted:.3f}" + (f" (true {true:.3f})" if np.isfinite(true) else "")
    axes.set_title(
        f"{row['subject'][-22:]}\n{said}", fontsize=8, color=COLOURS[2] if predicted >= threshold else COLOURS[5]
    )
    axes.set_axis_off()
