"""The scores of methods on pairs, and their summaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from acreg.geometry.display import table_html
from acreg.geometry.extents import Align
from acreg.metrics import LABEL_METRICS, is_lost, mean_over_labels
from acreg.registration.concerns import Verdict

MEASURES = 2
"""The version of what metrics and names mean, recorded in `summary.json` as "measures"; results without it have 1. In
version 1, the column `tre` held the centroid error, and the method "unregistered" aligned the extents of the images."""
OPTIONAL_METRICS = ("centroid_error", "tre_true", "lcc", "label_sd_log_j", "mask_dsc")
"""Label metrics that some results lack: without a true transform, from older versions, or without registration."""
HIGHER_IS_BETTER = ("dsc", "lcc", "mask_dsc", "ncc", "ssim")
IMAGE_VALUES = ("ncc", "ssim")
"""Metrics of the fixed and the warped image."""
FIELD_VALUES = ("folded_percent", "sd_log_j", "seconds")
"""Metrics of the field; they are meaningless without registration."""
PAIR_VALUES = (*IMAGE_VALUES, *FIELD_VALUES)
SIGNS = ("inverse_error", "unlikeness")
"""Numbers behind a verdict that tables do not show, but `pairs.csv` and `summary.json` hold."""
NAN = float("nan")


@dataclass
class PairScores:
    """The scores of one registration: `labels` is `{label: {metric: value}}`, empty if it failed (see `failure`).

    `verdict` is that of `acreg.registration.concerns`, "" without registration or in results of older versions, and
    `concerns` are the names of its reasons. `inverse_error` is the 95th percentile in mm, and `unlikeness` that of the
    less usual image, see `acreg.registration.Registration`; None if they were not measured.
    """

    fixed: str
    moving: str
    labels: dict[int, dict[str, float]] = field(default_factory=dict)
    ncc: float = NAN
    ssim: float = NAN
    folded_percent: float = NAN
    sd_log_j: float = NAN
    seconds: float = NAN
    inverse_error: float | None = None
    unlikeness: float | None = None
    verdict: str = ""
    concerns: tuple[str, ...] = ()
    failure: str = ""

    def value(self, metric: str) -> float:
        """A metric of the pair; label metrics are the unweighted mean over the labels that have a value."""
        if metric in LABEL_METRICS:
            return mean_over_labels(self.labels).get(metric, NAN)
        found = getattr(self, metric)
        return NAN if found is None else float(found)


@dataclass(repr=False)
class MethodResult:
    """The scores of one method on all pairs; `summary` holds its settings (see `summarise`)."""

    name: str
    label_names: dict[int, str]
    pairs: list[PairScores]
    summary: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"MethodResult({self.name}: {len(self.pairs)} pairs{failed})"

    def _repr_html_(self) -> str:
        """The table that a notebook shows: mean (SD) of each metric over pairs."""
        from acreg.evaluation.tables import summary_table

        columns, rows = summary_table([self])
        return table_html(rows, columns, f"{self.name}: mean (SD)")

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The pairs, (fixed, moving), in order."""
        return [(pair.fixed, pair.moving) for pair in self.pairs]

    @property
    def failures(self) -> list[PairScores]:
        """The pairs whose registration failed."""
        return [pair for pair in self.pairs if pair.failure]

    @property
    def is_baseline(self) -> bool:
        """Whether this is the row without registration, whose field and time are meaningless."""
        return not self.summary.get("registers", True)

    @property
    def labelled_pairs(self) -> int:
        """The number of pairs in which both images have labels."""
        return int(self.summary.get("labelled_pairs", len(self.pairs) if self.label_names else 0))

    @property
    def concerned(self) -> dict[str, list[PairScores]]:
        """The pairs that have each concern (`acreg.registration.concerns`), by its name."""
        names = dict.fromkeys(name for pair in self.pairs for name in pair.concerns)
        return {name: [pair for pair in self.pairs if name in pair.concerns] for name in names}

    @property
    def align(self) -> Align:
        """How images without registration lie; with registration, and in results of older versions, "extents"."""
        options = self.summary.get("settings", {}).get("baseline", {}).get("options", {})
        return options.get("align", "extents") if self.is_baseline else "extents"

    @property
    def request(self) -> str | None:
        """The request for the pairs, as for `acreg.evaluation.pairs.choose_pairs`; None if it is not known."""
        return self.summary.get("settings", {}).get("pairs")

    @property
    def unit(self) -> str:
        """The unit of distances, "mm" or "px"."""
        return str(self.summary.get("dataset", {}).get("unit", "mm"))

    def values(self, metric: str, label: int | None = None) -> np.ndarray:
        """The values of a metric, `(pairs,)` float64, NaN for a pair without a value; for one label, or the mean."""
        if label is None:
            return np.array([pair.value(metric) for pair in self.pairs], float)
        return np.array([pair.labels.get(label, {}).get(metric, NAN) for pair in self.pairs], float)

    def absent(self) -> dict[int, int]:
        """The number of registered pairs in which each label has no distances, because one or both maps lack it."""
        done = [pair for pair in self.pairs if pair.labels]
        return {label: sum(not math.isfinite(p.labels[label]["hd"]) for p in done) for label in self.label_names}

    def lost(self) -> dict[int, int]:
        """The number of registered pairs in which only one map has each label, so that its Dice counts as 0."""
        done = [pair for pair in self.pairs if pair.labels]
        return {label: sum(is_lost(p.labels[label]) for p in done) for label in self.label_names}

    def worst_first(self) -> list[PairScores]:
        """The pairs, sorted by `worst_key`."""
        return sorted(self.pairs, key=worst_key)

    def best_first(self) -> list[PairScores]:
        """The pairs, sorted by `best_key`."""
        return sorted(self.pairs, key=best_key)


def worst_key(pair: PairScores) -> tuple[int, float]:
    """A sort key, worst pair first: failed pairs, pairs with labels by DSC (no value first), others by NCC."""
    if pair.failure:
        return 0, 0.0
    value = pair.value("dsc" if pair.labels else "ncc")
    return 1 if pair.labels else 2, value if math.isfinite(value) else -1.0


def best_key(pair: PairScores) -> tuple[int, float]:
    """A sort key, best pair first: pairs with labels by DSC (no value last), others by NCC, failed pairs last."""
    if pair.failure:
        return 2, 0.0
    value = pair.value("dsc" if pair.labels else "ncc")
    return 0 if pair.labels else 1, -value if math.isfinite(value) else 1.0


def measured(results: Sequence[MethodResult]) -> tuple[str, ...]:
    """The label metrics that tables show; each of `OPTIONAL_METRICS` only if one of the results has it.

    Empty if no pair has labels.
    """
    if not any(result.label_names for result in results):
        return ()
    known = {metric for r in results for pair in r.pairs for scores in pair.labels.values() for metric in scores}
    return tuple(metric for metric in LABEL_METRICS if metric in known or metric not in OPTIONAL_METRICS)


def compared_by(results: Sequence[MethodResult]) -> tuple[str, ...]:
    """The metrics by which methods are compared: label metrics, the best known first; without labels, image metrics."""
    return measured(results) or IMAGE_VALUES


def statistics_of(values: np.ndarray) -> dict[str, float | int | None]:
    """Mean, population SD, median and count of the finite values."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return {"mean": None, "sd": None, "median": None, "n": 0}
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "median": float(np.median(values)),
        "n": int(values.size),
    }


def summarise(result: MethodResult) -> dict[str, Any]:
    """The numbers of `summary.json`: a pair has the mean over its labels; means and SDs are over pairs."""
    metrics = measured([result])
    return {
        "method": result.name,
        "measures": MEASURES,
        "pairs": len(result.pairs),
        "metrics": {m: statistics_of(result.values(m)) for m in (*metrics, *PAIR_VALUES, *SIGNS)},
        "per_label": {
            name: {m: statistics_of(result.values(m, label)) for m in metrics}
            for label, name in result.label_names.items()
        },
        "absent_labels": {result.label_names[label]: count for label, count in result.absent().items()},
        "lost_labels": {result.label_names[label]: count for label, count in result.lost().items()},
        "verdicts": {each: sum(pair.verdict == each for pair in result.pairs) for each in get_args(Verdict)},
        "concerns": {
            "pairs": sum(bool(pair.concerns) for pair in result.pairs),
            "by_name": {name: len(pairs) for name, pairs in result.concerned.items()},
        },
        "failed": len(result.failures),
        "failures": [{"fixed": p.fixed, "moving": p.moving, "reason": p.failure} for p in result.failures],
    }
