"""The result files of an evaluation: `pairs.csv` and `summary.json`, one folder per method.

`pairs.csv` has one row per pair and label; values of the pair (folding, seconds, failure) are repeated in its rows. A
pair without labels has one row; if no pair has labels, there are no label columns.
Numbers are written in full precision, missing ones as `nan`. `summary.json` has means over pairs, counts, failures and
settings.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.evaluation.completeness import check_complete
from acreg.io.csv_tables import read_dicts, write_table
from acreg.io.documents import read_json, read_text, write_json
from acreg.metrics import LABEL_METRICS, MAP_METRICS, is_lost, mean_over_labels

OPTIONAL_METRICS = ("tre_true", "lcc", "label_sd_log_j", "mask_dsc")
"""Label metrics that some results lack: without a true transform, from older versions, or without registration."""
HIGHER_IS_BETTER = ("dsc", "lcc", "mask_dsc", "ncc", "ssim")
IMAGE_VALUES = ("ncc", "ssim")
"""Metrics of the fixed and the warped image."""
FIELD_VALUES = ("folded_percent", "sd_log_j", "seconds")
"""Metrics of the field; they are meaningless without registration."""
PAIR_VALUES = (*IMAGE_VALUES, *FIELD_VALUES)
NAN = float("nan")


@dataclass
class PairScores:
    """The scores of one registration: `labels` is `{label: {metric: value}}`, empty if it failed (see `failure`).

    `concerns` are the names of its concerns, see `acreg.registration.concerns`.
    """

    fixed: str
    moving: str
    labels: dict[int, dict[str, float]] = field(default_factory=dict)
    ncc: float = NAN
    ssim: float = NAN
    folded_percent: float = NAN
    sd_log_j: float = NAN
    seconds: float = NAN
    concerns: tuple[str, ...] = ()
    failure: str = ""

    def value(self, metric: str) -> float:
        """A metric of the pair; label metrics are the unweighted mean over the labels that have a value."""
        if metric in LABEL_METRICS:
            return mean_over_labels(self.labels).get(metric, NAN)
        return float(getattr(self, metric))


@dataclass
class MethodResult:
    """The scores of one method on all pairs; `summary` holds its settings (see `summarise`)."""

    name: str
    label_names: dict[int, str]
    pairs: list[PairScores]
    summary: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

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


def worst_key(pair: PairScores) -> tuple[int, float]:
    """A sort key, worst pair first: failed pairs, pairs with labels by DSC (no value first), others by NCC."""
    if pair.failure:
        return 0, 0.0
    value = pair.value("dsc" if pair.labels else "ncc")
    return 1 if pair.labels else 2, value if math.isfinite(value) else -1.0


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
        "pairs": len(result.pairs),
        "metrics": {m: statistics_of(result.values(m)) for m in (*metrics, *PAIR_VALUES)},
        "per_label": {
            name: {m: statistics_of(result.values(m, label)) for m in metrics}
            for label, name in result.label_names.items()
        },
        "absent_labels": {result.label_names[label]: count for label, count in result.absent().items()},
        "lost_labels": {result.label_names[label]: count for label, count in result.lost().items()},
        "concerns": {
            "pairs": sum(bool(pair.concerns) for pair in result.pairs),
            "by_name": {name: len(pairs) for name, pairs in result.concerned.items()},
        },
        "failed": len(result.failures),
        "failures": [{"fixed": p.fixed, "moving": p.moving, "reason": p.failure} for p in result.failures],
    }


def write_method(result: MethodResult, folder: Path) -> None:
    """Write `pairs.csv`, then `summary.json` (the numbers of `summarise` and the settings in `result.summary`)."""
    metrics = measured([result])
    label_columns = ["label", "label_name"] if result.label_names else []
    rows: list[list[object]] = [["fixed", "moving", *label_columns, *metrics, *PAIR_VALUES, "concerns", "failure"]]
    for pair in result.pairs:
        named: list[tuple[Any, str]] = list(result.label_names.items()) if pair.labels or pair.failure else []
        for label, name in named or [("", "")]:
            scores = pair.labels.get(label, {})
            rows.append(
                [pair.fixed, pair.moving, *([label, name] if label_columns else [])]
                + [repr(float(scores.get(m, NAN))) for m in metrics]
                + [repr(float(getattr(pair, v))) for v in PAIR_VALUES]
                + [" ".join(pair.concerns), pair.failure]
            )
    write_table(folder / "pairs.csv", rows)
    write_json(folder / "summary.json", {**summarise(result), **result.summary})
    result.folder = folder


def read_method(folder: Path) -> MethodResult:
    """Read the folder of a method; metrics that older versions did not measure are NaN.

    Raises:
        AcregError: a file is missing, truncated, or lacks a column.
    """
    try:
        summary = read_json(folder / "summary.json", "summary")
        rows = read_dicts(io.StringIO(read_text(folder / "pairs.csv", "table of pairs"), newline=""))
        pairs: dict[tuple[str, str], PairScores] = {}
        names: dict[int, str] = {}
        if rows and summary.get("per_label") and "label" not in rows[0]:
            raise KeyError("label")
        for row in rows:
            key = row["fixed"], row["moving"]
            pair = pairs.setdefault(key, PairScores(*key, failure=row.get("failure") or ""))
            pair.concerns = tuple((row.get("concerns") or "").split())
            for value in PAIR_VALUES:
                setattr(pair, value, float(row[value] if value in FIELD_VALUES else row.get(value, NAN)))
            if not row.get("label"):
                continue
            label = int(row["label"])
            names[label] = row["label_name"]
            scores = {m: float(row[m] if m in MAP_METRICS else row.get(m, NAN)) for m in (*MAP_METRICS, "tre")}
            scores |= {m: float(row[m]) for m in OPTIONAL_METRICS if m in row}
            if not pair.failure:
                pair.labels[label] = scores
        if not rows:
            raise ValueError("no rows")
        if any(set(pair.labels) != set(names) for pair in pairs.values() if pair.labels):
            raise ValueError("a pair lacks a label")
        if any(_is_uncounted(scores) for pair in pairs.values() for scores in pair.labels.values()):
            raise ValueError("an older version left lost labels out of the mean Dice, where they count as 0")
        return MethodResult(str(summary["method"]), names, list(pairs.values()), summary, folder)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        what = f"no column or key {error}" if isinstance(error, KeyError) else str(error)
        raise AcregError(
            "A result folder holds the summary.json and the pairs.csv that `acreg evaluate` wrote. "
            f"Received: {folder} ({what}). Run the evaluation again, with --overwrite."
        ) from error


def _is_uncounted(scores: dict[str, float]) -> bool:
    """Whether a label of the fixed map has no Dice, as in older versions, which did not count a lost label."""
    of_fixed = (scores.get(metric, NAN) for metric in ("lcc", "label_sd_log_j", "tre_true"))
    return not math.isfinite(scores["dsc"]) and any(map(math.isfinite, of_fixed))


def load_results(folders: Sequence[Path]) -> list[MethodResult]:
    """Read folders of methods, or of evaluations with several methods; equal names are distinguished by their folder.

    Raises:
        AcregError: a folder has no results, or lacks results of a method of its evaluation.
    """
    found: list[Path] = []
    for folder in folders:
        if (folder / "summary.json").is_file() or (folder / "pairs.csv").is_file():
            inside = [folder]
        else:
            check_complete(folder)
            inside = sorted(path.parent for path in folder.glob("*/summary.json"))
        if not inside:
            raise AcregError(
                "Results are read from a method's folder or from an evaluation folder that holds several. "
                f"Received: {folder}, in which there is no summary.json. Name what `acreg evaluate --out` wrote."
            )
        found += [path for path in inside if path.resolve() not in {p.resolve() for p in found}]
    results: list[MethodResult] = []
    for folder in found:
        result = read_method(folder)
        # Every evaluation has its own unregistered row: one is enough for the same pairs of the same data.
        if not any(result.is_baseline and other.is_baseline and _same_scores(result, other) for other in results):
            results.append(result)
    found = [result.folder or Path() for result in results]
    names = [result.name for result in results]
    for result, folder in zip(results, found):
        if names.count(result.name) > 1:
            result.name = f"{folder.resolve().parent.name}/{result.name}"
    if len({result.name for result in results}) < len(results):
        for result, folder in zip(results, found):
            result.name = str(folder)
    return results


def _same_scores(a: MethodResult, b: MethodResult) -> bool:
    return a.name == b.name and a.label_names == b.label_names and sorted(a.keys) == sorted(b.keys)


def check_same_pairs(results: Sequence[MethodResult]) -> None:
    """Check that all results have the same dataset, unit, labels and pairs, so that they can be compared.

    Raises:
        AcregError: names the first difference.
    """
    first = results[0]
    for other in results[1:]:
        for what in ("name", "split", "unit"):
            a, b = (r.summary.get("dataset", {}).get(what) for r in (first, other))
            if a != b:
                _refuse(first, other, f"the dataset's {what} is {a!r} in one and {b!r} in the other")
        if first.label_names != other.label_names:
            _refuse(first, other, f"the labels are {first.label_names} in one and {other.label_names} in the other")
        mine, theirs = set(first.keys), set(other.keys)
        if mine != theirs:
            only = [f"{len(mine)} pairs against {len(theirs)}"]
            for result, extra in ((first, mine - theirs), (other, theirs - mine)):
                if extra:
                    shown = ", ".join(f"{fixed} <- {moving}" for fixed, moving in sorted(extra)[:3])
                    more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
                    only.append(f"only in {result.name}: {shown}{more}")
            _refuse(first, other, "; ".join(only))
        order = {key: index for index, key in enumerate(first.keys)}
        other.pairs.sort(key=lambda pair: order[(pair.fixed, pair.moving)])


def keep_pairs(results: Sequence[MethodResult], fixed: str) -> None:
    """Keep only the pairs whose fixed subject matches a pattern with `*`, `?` and `[...]`.

    Raises:
        UsageError: no pair is left.
    """
    names = sorted({name for name, _ in results[0].keys})
    if not any(fnmatch.fnmatchcase(name, fixed) for name in names):
        raise UsageError(
            f"The pairs that are compared are those whose fixed subject's name is like the pattern. Received: {fixed}, "
            f"which none of the {len(names)} is, such as {', '.join(names[:3])}. Correct the pattern."
        )
    for result in results:
        result.pairs = [pair for pair in result.pairs if fnmatch.fnmatchcase(pair.fixed, fixed)]


def _refuse(first: MethodResult, other: MethodResult, difference: str) -> None:
    raise AcregError(
        "Methods are compared on the same pairs of the same data. "
        f"Received: {first.name} and {other.name}: {difference}. "
        "Evaluate them together, or give `acreg evaluate --pairs` the pairs_used.csv of the other evaluation."
    )
