"""The summary table (Table 1 of the AC-RegNet paper, with field and time added) and the statistics, as text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from acreg.evaluation.method_result import (
    FIELD_VALUES,
    HIGHER_IS_BETTER,
    PAIR_VALUES,
    MethodResult,
    compared_by,
    measured,
    statistics_of,
)
from acreg.evaluation.statistics import Comparison
from acreg.io.csv_tables import write_table
from acreg.metrics import LABEL_METRICS

DIGITS = {"dsc": 3, "hd": 2, "hd95": 2, "assd": 2, "tre": 2, "centroid_error": 2, "tre_true": 2, "ncc": 3, "ssim": 3}
DIGITS |= {"lcc": 3, "label_sd_log_j": 3, "mask_dsc": 3, "folded_percent": 3, "sd_log_j": 3, "seconds": 3}
HAS_A_BEST = (*(metric for metric in LABEL_METRICS if metric not in ("lcc", "label_sd_log_j")), "folded_percent")
"""Metrics without a marked best value: similar images or a smooth field do not make a good registration, and seconds
depend on the machine."""
WINS_NOTE = (
    "The number of labels for which each method has the best mean over pairs. If methods have equal unrounded means, "
    "the label counts for each of them; a label for which fewer than two methods have values counts for none."
)
LEVEL = 0.05
"""A difference is marked if its corrected p is below this value."""


def metrics_shown(results: Sequence[MethodResult]) -> tuple[str, ...]:
    """The columns of the tables."""
    return (*measured(results), *PAIR_VALUES)


def metric_title(metric: str, unit: str) -> str:
    """`HD95 (mm)`, `Folded %` and so on."""
    titles = {
        "dsc": "DSC",
        "centroid_error": f"Centroid error ({unit})",
        "tre_true": f"True TRE ({unit})",
        "lcc": "LCC",
        "label_sd_log_j": "SDlogJ in labels",
        "mask_dsc": "Mask DSC",
        "ncc": "NCC",
        "ssim": "SSIM",
        "folded_percent": "Folded %",
        "sd_log_j": "SDlogJ",
        "seconds": "Seconds",
    }
    return titles.get(metric, f"{metric.upper()} ({unit})")


def best_of(means: Sequence[float | None], metric: str, digits: int | None = None) -> set[int]:
    """The positions of the best of two or more means; several if they are equal after rounding to `digits`."""
    known = {i: mean if digits is None else round(mean, digits) for i, mean in enumerate(means) if mean is not None}
    if len(known) < 2:
        return set()
    top = max(known.values()) if metric in HIGHER_IS_BETTER else min(known.values())
    return {index for index, mean in known.items() if mean == top}


def best_methods(results: Sequence[MethodResult]) -> set[tuple[str, str]]:
    """(method, metric) of each best mean, as printed; the unregistered row has no field, so it cannot have the best."""
    best = set()
    for metric in HAS_A_BEST:
        means = [
            None if result.is_baseline and metric in FIELD_VALUES else statistics_of(result.values(metric))["mean"]
            for result in results
        ]
        best |= {(results[index].name, metric) for index in best_of(means, metric, DIGITS[metric])}
    return best


def text_of(numbers: Mapping[str, float | int | None], metric: str) -> str:
    """`0.812 (0.043)`, mean and SD of what `statistics_of` returns; `–` for none."""
    if numbers["mean"] is None:
        return "–"
    digits = DIGITS[metric]
    return f"{numbers['mean']:.{digits}f} ({numbers['sd']:.{digits}f})"


def leader(comparison: Comparison) -> int:
    """1 if the first method is better with corrected p < `LEVEL`, -1 if the second method is better, otherwise 0."""
    if not comparison.p_corrected < LEVEL:
        return 0
    sign = 1 if comparison.metric in HIGHER_IS_BETTER else -1
    return sign * ((comparison.effect > 0) - (comparison.effect < 0))


def order_methods(results: Sequence[MethodResult]) -> list[MethodResult]:
    """Sort by mean DSC (without labels, NCC), best first; methods without a value and the unregistered row are last."""
    metric = compared_by(results)[0] if results else "dsc"

    def key(result: MethodResult) -> tuple[bool, float]:
        mean = statistics_of(result.values(metric))["mean"]
        return result.is_baseline, -mean if mean is not None else math.inf

    return sorted(results, key=key)


def summary_table(
    results: Sequence[MethodResult], bold: Callable[[str], str] = "**{}**".format
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: mean (population SD) over pairs, and counts; `bold` formats the best of a column.

    *Warned* counts pairs with concerns, see `acreg.registration.concerns`, and *Judged failed* those of them whose
    verdict is "failed".
    """
    unit, metrics = results[0].unit, metrics_shown(results)
    columns = ["Method", *(metric_title(m, unit) for m in metrics), "Pairs", "Failed"]
    counts: dict[str, Callable[[MethodResult], int]] = {}
    if results[0].label_names:
        counts["Absent"] = lambda result: sum(result.absent().values())
    if any(pair.concerns for result in results for pair in result.pairs):
        counts["Warned"] = lambda result: sum(bool(pair.concerns) for pair in result.pairs)
        counts["Judged failed"] = judged_failed
    columns += counts
    best = best_methods(results)
    rows = []
    for result in results:
        row = [result.name]
        for metric in metrics:
            text = text_of(statistics_of(result.values(metric)), metric)
            if result.is_baseline and metric in FIELD_VALUES:
                text = "–"
            row.append(bold(text) if (result.name, metric) in best else text)
        row += [str(len(result.pairs)), str(len(result.failures)), *(str(count(result)) for count in counts.values())]
        rows.append(row)
    return columns, rows


def judged_failed(result: MethodResult) -> int:
    """The number of pairs whose verdict is "failed": a transform was found, and it is useless."""
    return sum(pair.verdict == "failed" for pair in result.pairs)


def wins(results: Sequence[MethodResult]) -> dict[tuple[str, str], int]:
    """(method, metric) -> number of labels on which the method has the best mean over pairs; see `WINS_NOTE`."""
    found = {(result.name, metric): 0 for result in results for metric in measured(results)}
    for metric in measured(results):
        for label in results[0].label_names:
            means = [statistics_of(result.values(metric, label))["mean"] for result in results]
            for index in best_of(means, metric):
                found[results[index].name, metric] += 1
    return found


def wins_table(results: Sequence[MethodResult]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: one row per method, one column per metric: the number of labels won."""
    metrics, found = measured(results), wins(results)
    titles = [metric_title(metric, "").replace(" ()", "") for metric in metrics]
    return ["Method", *titles], [[r.name, *(str(found[r.name, metric]) for metric in metrics)] for r in results]


def write_summary_csv(results: Sequence[MethodResult], path: Path) -> None:
    """One row per method, unrounded: mean, SD, median and n of each metric, pairs, failed, absent, lost labels.

    If there are several methods, also the number of labels that each wins (`wins`).
    """
    columns, metrics = ["method", "unit"], metrics_shown(results)
    columns += [f"{metric}_{part}" for metric in metrics for part in ("mean", "sd", "median", "n")]
    rows = []
    for result in results:
        row: list[object] = [result.name, result.unit]
        for metric in metrics:
            numbers = statistics_of(result.values(metric))
            row += ["nan" if numbers[part] is None else numbers[part] for part in ("mean", "sd", "median", "n")]
        counts = (sum(found.values()) for found in (result.absent(), result.lost()))
        warned = sum(bool(pair.concerns) for pair in result.pairs)
        rows.append(row + [len(result.pairs), len(result.failures), *counts, warned, judged_failed(result)])
    columns += ["pairs", "failed", "absent_labels", "lost_labels", "warned", "judged_failed"]
    if len(results) > 1 and measured(results):
        won = wins(results)
        columns += [f"{metric}_wins" for metric in measured(results)]
        for row, result in zip(rows, results, strict=True):
            row += [won[result.name, metric] for metric in measured(results)]
    write_table(path, [columns, *rows])


def write_statistics_csv(comparisons: Sequence[Comparison], path: Path) -> None:
    """Write one row per metric and pair of methods, with the fields of `Comparison`."""
    columns = [field.name for field in dataclasses.fields(Comparison)]
    rows = [[getattr(comparison, column) for column in columns] for comparison in comparisons]
    write_table(path, [columns, *rows])


def format_p(p: float) -> str:
    """`0.0123`, `< 0.001`, `–` for none."""
    if not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.4f}"
