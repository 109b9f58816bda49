"""The contents of a `quality.csv`: the predicted Dice of segmentations and, if it is known, the true Dice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr

from acreg.data.records import read_cells

QUALITY = "quality.csv"
"""The name of the table."""


@dataclass(frozen=True, eq=False)
class PredictedDice:
    """The rows of the table.

    Attributes:
        rows: the cells of each row, by column.
        predicted: predicted Dice, `(rows,)`.
        true: true Dice, `(rows,)`, NaN if it is not known.
        threshold: the smallest predicted Dice at which a segmentation is accepted.
    """

    rows: list[dict[str, str]]
    predicted: NDArray[np.float64]
    true: NDArray[np.float64]
    threshold: float

    @classmethod
    def read(cls, table: Path, threshold: float) -> PredictedDice:
        """Read a `quality.csv`. Raises `AcregError` if it is damaged."""
        header, *cells = read_cells(table, "table of quality")
        rows = [dict(zip(header, row, strict=True)) for row in cells]
        predicted = np.array([float(row["predicted_dice"]) for row in rows])
        return cls(rows, predicted, np.array([float(row["true_dice"] or "nan") for row in rows]), threshold)

    @property
    def summary(self) -> dict[str, Any]:
        """The numbers of `summary.json`.

        If true Dice are known, this includes the mean absolute error of the prediction and, for three or more images
        whose Dice differ, Pearson's correlation.
        """
        accepted = int((self.predicted >= self.threshold).sum())
        found: dict[str, Any] = {
            "images": len(self.rows),
            "threshold": self.threshold,
            "accepted": accepted,
            "rejected": len(self.rows) - accepted,
            "median_predicted_dice": float(np.median(self.predicted)),
        }
        known = np.isfinite(self.true)
        predicted, true = self.predicted[known], self.true[known]
        if known.any():
            error = float(np.abs(predicted - true).mean())
            found["with_truth"] = {"images": int(known.sum()), "mean_absolute_error": error}
            if known.sum() > 2 and np.ptp(true) > 0 and np.ptp(predicted) > 0:
                found["with_truth"]["correlation"] = float(pearsonr(predicted, true).statistic)
        return found

    @property
    def lines(self) -> list[str]:
        """The summary in sentences."""
        found = self.summary
        said = [
            f"Predicted Dice: median {found['median_predicted_dice']:.3f}; {found['accepted']} of {found['images']} "
            f"accepted (at least {self.threshold:g})"
        ]
        if "with_truth" in found:
            truth = found["with_truth"]
            text = f"mean absolute error {truth['mean_absolute_error']:.3f}"
            text += f", correlation {truth['correlation']:.3f}" if "correlation" in truth else ""
            said.append(f"Against the true Dice of {truth['images']} images: {text}")
        return said
