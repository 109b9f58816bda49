"""The summary table (Table 1 of the AC-RegNet paper, with field and time added) and the statistics, as text."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from acreg.io.atomic import atomic_path
from acreg.metrics import LABEL_METRICS
from acreg.report.results import FIELD_VALUES, PAIR_VALUES, MethodResult, measured, statistics_of
from acreg.report.statistics import Comparison

DIGITS = {"dsc": 3, "hd": 2, "hd95": 2, "assd": 2, "tre": 2, "tre_true": 2, "ncc": 3, "ssim": 3}
DIGITS |= {"folded_percent": 3, "sd_log_j": 3, "seconds": 3}
HIGHER_IS_BETTER = ("dsc",)
HAS_A_BEST = (*LABEL_METRICS, "folded_percent")
"""Alike images and a smooth field are not a good registration, and seconds depend on the machine: no best is marked."""
LEVEL = 0.05
"""Below this corrected p a difference is marked."""


def metrics_shown(results: Sequence[MethodResult]) -> tuple[str, ...]:
    """The columns of the tables."""
    return (*measured(results), *PAIR_VALUES)


def metric_title(metric: str, unit: str) -> str:
    """`HD95 (mm)`, `Folded %` and so on."""
    titles = {
        "dsc": "DSC",
        "tre_true": f"True TRE ({unit})",
        "ncc": "NCC",
        "ssim": "SSIM",
        "folded_percent": "Folded %",
        "sd_log_j": "SDlogJ",
        "seconds": "Seconds",
    }
    return titles.get(metric, f"{metric.upper()} ({unit})")


def best_methods(results: Sequence[MethodResult]) -> set[tuple[str, str]]:
    """(method, metric) of each best mean, as printed; the unregistered row has no best field, being none."""
    best = set()
    for metric in HAS_A_BEST:
        means = {}
        for result in results:
            mean = statistics_of(result.values(metric))["mean"]
            if mean is not None and not (result.is_baseline and metric in FIELD_VALUES):
                means[result.name] = round(mean, DIGITS[metric])
        if len(means) > 1:
            top = max(means.values()) if metric in HIGHER_IS_BETTER else min(means.values())
            best |= {(name, metric) for name, mean in means.items() if mean == top}
    return best


def leader(comparison: Comparison) -> int:
    """1 where the first method is better at corrected p < `LEVEL`, -1 where the second one is, else 0."""
    if not comparison.p_corrected < LEVEL:
        return 0
    sign = 1 if comparison.metric in HIGHER_IS_BETTER else -1
    return sign * ((comparison.effect > 0) - (comparison.effect < 0))


def order_methods(results: Sequence[MethodResult]) -> list[MethodResult]:
    """By mean DSC, best first; those without any value, and the unregistered row, last."""

    def key(result: MethodResult) -> tuple[bool, float]:
        mean = statistics_of(result.values("dsc"))["mean"]
        return result.is_baseline, -mean if mean is not None else math.inf

    return sorted(results, key=key)


def summary_table(
    results: Sequence[MethodResult], bold: Callable[[str], str] = "**{}**".format
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: mean (population SD) over pairs, counts; `bold` wraps the best of a column."""
    unit, metrics = results[0].unit, metrics_shown(results)
    columns = ["Method", *(metric_title(m, unit) for m in metrics), "Pairs", "Failed", "Absent"]
    best = best_methods(results)
    rows = []
    for result in results:
        row = [result.name]
        for metric in metrics:
            numbers = statistics_of(result.values(metric))
            if numbers["mean"] is None or (result.is_baseline and metric in FIELD_VALUES):
                row.append("–")
                continue
            digits = DIGITS[metric]
            text = f"{numbers['mean']:.{digits}f} ({numbers['sd']:.{digits}f})"
            row.append(bold(text) if (result.name, metric) in best else text)
        row += [str(len(result.pairs)), str(len(result.failures)), str(sum(result.absent().values()))]
        rows.append(row)
    return columns, rows


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, first column to the left, the others to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"


def write_summary_csv(results: Sequence[MethodResult], path: Path) -> None:
    """A row a method with unrounded numbers: mean, SD, median and n of each metric, pairs, failed, absent labels."""
    columns, metrics = ["method", "unit"], metrics_shown(results)
    columns += [f"{metric}_{part}" for metric in metrics for part in ("mean", "sd", "median", "n")]
    rows = []
    for result in results:
        row: list[object] = [result.name, result.unit]
        for metric in metrics:
            numbers = statistics_of(result.values(metric))
            row += ["nan" if numbers[part] is None else numbers[part] for part in ("mean", "sd", "median", "n")]
        rows.append(row + [len(result.pairs), len(result.failures), sum(result.absent().values())])
    write_csv([*columns, "pairs", "failed", "absent_labels"], rows, path)


def write_statistics_csv(comparisons: Sequence[Comparison], path: Path) -> None:
    """A row a metric and pair of methods, with the fields of `Comparison`."""
    columns = [field.name for field in dataclasses.fields(Comparison)]
    write_csv(columns, [[getattr(comparison, column) for column in columns] for comparison in comparisons], path)


def write_csv(columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path) -> None:
    """Write a CSV file in one go."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


def format_p(p: float) -> str:
    """`0.0123`, `< 0.001`, `–` for none."""
    if not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.4f}"
