"""The figure of the predicted Dice, as ``acreg quality`` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.evaluation.predicted_quality import PredictedDice
from acreg.geometry import unregistered
from acreg.io import read_labelled
from acreg.plotting.drawing import WARPED_COLOUR, draw_contours, draw_image
from acreg.plotting.figures import COLOURS
from acreg.plotting.warped_pair import view_pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLES = 6
"""Number of segmentations that are drawn, from the lowest to the highest predicted Dice in equal steps of rank."""


def quality_figure(found: PredictedDice) -> Figure:
    """The histogram of the predicted Dice with examples; if true Dice are known, also a scatter plot of both.

    Raises:
        AcregError: the image or the segmentation of an example cannot be read.
    """
    from acreg.geometry.notebook_figure import NotebookFigure

    rows, predicted, true, threshold = found.rows, found.predicted, found.true, found.threshold
    known = np.isfinite(true)
    figure = NotebookFigure(figsize=(11, 5.6), dpi=120, layout="constrained")
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
    return figure


def _draw_example(axes: Axes, row: dict[str, str], predicted: float, true: float, threshold: float) -> None:
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
