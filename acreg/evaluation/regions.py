"""Metrics by region of labels, as in Tables I and II of the paper on the joint affine and deformable network.

The value of a region is the unweighted mean over its labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from acreg.data.tables.region_table import RegionTable
from acreg.errors import AcregError
from acreg.evaluation.method_result import MethodResult, measured, statistics_of
from acreg.evaluation.tables import DIGITS, best_of, metric_title, text_of
from acreg.io.csv_tables import write_table


def check_regions(results: Sequence[MethodResult], table: RegionTable) -> None:
    """Check that some region has a label of the results.

    Raises:
        AcregError: no region has one.
    """
    labels = results[0].label_names
    if not labels:
        raise AcregError(
            f"A region table groups the labels of the results. Received: {table.name} for results without labels. "
            "Leave it out, or evaluate pairs with labels."
        )
    if len(table.without(labels)) == len(labels):
        shown = ", ".join(map(str, list(labels)[:10])) + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
        raise AcregError(
            f"A region table groups the labels of the results. Received: {table.name}, which has none of {shown} in a "
            "region. Choose the table that numbers labels as this dataset does."
        )


def region_values(result: MethodResult, labels: Sequence[int], metric: str) -> np.ndarray:
    """A metric of a region, `(pairs,)` float64: for each pair, the unweighted mean over the labels of the region.

    Labels without a value in a pair are left out of its mean, as in the mean over all labels; NaN if no label has a
    value.
    """
    values = np.stack([result.values(metric, label) for label in labels if label in result.label_names])
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    means = np.full(values.shape[1], np.nan)
    np.divide(np.where(known, values, 0.0).sum(axis=0), counts, out=means, where=counts > 0)
    return means


def regions_shown(results: Sequence[MethodResult], table: RegionTable) -> dict[str, tuple[int, ...]]:
    """The regions that have labels in the results."""
    known = results[0].label_names
    return {name: labels for name, labels in table.regions.items() if any(label in known for label in labels)}


def region_table(
    results: Sequence[MethodResult], table: RegionTable, bold: Callable[[str], str] = "**{}**".format
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows, with a block per metric, row per method, column per region: mean (population SD) over pairs."""
    regions = regions_shown(results, table)
    rows = []
    for metric in measured(results):
        columns = []
        for labels in regions.values():
            numbers = [statistics_of(region_values(result, labels, metric)) for result in results]
            best = best_of([one["mean"] for one in numbers], metric, DIGITS[metric])
            columns.append(
                [bold(text_of(n, metric)) if i in best else text_of(n, metric) for i, n in enumerate(numbers)]
            )
        for index, result in enumerate(results):
            title = metric_title(metric, result.unit) if index == 0 else ""
            rows.append([title, result.name, *(column[index] for column in columns)])
    return ["Metric", "Method", *regions], rows


def region_note(results: Sequence[MethodResult], table: RegionTable) -> str:
    """A note with the number of labels in each region, and the labels in no region."""
    names = results[0].label_names
    sizes = [f"{region} {sum(label in names for label in labels)}" for region, labels in table.regions.items()]
    left_out = [names[label] for label in table.without(names)]
    text = f"Of {len(names)} labels: {', '.join(sizes)}; {len(left_out)} in no region and left out"
    return text + (f" ({', '.join(left_out[:10])}{', ...' if len(left_out) > 10 else ''})." if left_out else ".")


def absent_note(results: Sequence[MethodResult]) -> str:
    """A note with the number of label values without distances, which the means of regions leave out."""
    absent = [f"{result.name} {count}" for result in results if (count := sum(result.absent().values()))]
    return f" Label values without distances, because a map lacks the label: {', '.join(absent)}." if absent else ""


def write_regions_csv(results: Sequence[MethodResult], table: RegionTable, path: Path) -> None:
    """Write one row per method, region and metric with unrounded numbers: mean, SD, median and n.

    `absent` is the number of values without distances over all labels of the region and all pairs.
    """
    parts = ("mean", "sd", "median", "n")
    rows = []
    for result in results:
        for region, labels in regions_shown(results, table).items():
            known = [label for label in labels if label in result.label_names]
            absent = sum(result.absent()[label] for label in known)
            for metric in measured(results):
                numbers = statistics_of(region_values(result, labels, metric))
                cells = ["nan" if numbers[part] is None else numbers[part] for part in parts]
                rows.append([result.name, result.unit, table.name, region, len(known), metric, *cells, absent])
    columns = ["method", "unit", "table", "region", "labels", "metric", *parts, "absent"]
    write_table(path, [columns, *rows])
