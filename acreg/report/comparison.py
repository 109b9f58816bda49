"""Comparison of evaluated methods by tables, tests and an HTML report: `acreg.compare`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from acreg.data.tables.region_table import RegionTable, read_region_table
from acreg.errors import UsageError, argument
from acreg.evaluation.method_result import MethodResult
from acreg.evaluation.pairs import counted
from acreg.evaluation.regions import check_regions, region_note, region_table, write_regions_csv
from acreg.evaluation.results import check_same_pairs, keep_pairs, load_results
from acreg.evaluation.statistics import DESCRIPTIONS, SIDES, Alternative, Comparison, Test, compare_methods
from acreg.evaluation.tables import (
    WINS_NOTE,
    format_p,
    metric_title,
    order_methods,
    summary_table,
    wins_table,
    write_statistics_csv,
    write_summary_csv,
)
from acreg.geometry.display import table_html
from acreg.io import all_or_none
from acreg.plotting.page import markdown
from acreg.progress import Progress, notebook_bars
from acreg.report.html import build_report
from acreg.report.pair_views import FOLDER as VIEWS

FILES = ("table.md", "table.csv", "statistics.csv", "label_statistics.csv", "regions.csv", "report.html")
"""The files of `MethodComparison.save`, besides views; some are written on request only."""


class Table(NamedTuple):
    """A table of texts with a title and an explanatory note."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(eq=False, repr=False)
class MethodComparison:
    """Methods compared on the same pairs. A notebook shows the tables.

    Attributes:
        results: the results of the methods, the best first.
        comparisons: the tests of each pair of methods on each metric.
        label_comparisons: the same for each label, on request.
        test: the name of the test.
        regions: the regions of the labels, on request.
        files: the files of the last `save`.
    """

    results: list[MethodResult]
    comparisons: list[Comparison]
    label_comparisons: list[Comparison]
    test: Test
    regions: RegionTable | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def tables(self) -> list[Table]:
        """Tables of the means of each metric, of the regions if there are any, and of the labels won by each method."""
        first = self.results[0]
        dataset, labelled = first.summary.get("dataset", {}), first.labelled_pairs
        some = "" if labelled >= len(first.pairs) else f", {labelled} with labels"
        pairs = counted(len(first.pairs), first.request)
        title = f"{dataset.get('name')}, {dataset.get('split')}, {pairs}{some}: mean (SD)"
        found = [Table(title, *summary_table(self.results))]
        if self.regions:
            note = region_note(self.results, self.regions)
            title = f"Regions of {self.regions.name}: mean (SD)"
            found.append(Table(title, *region_table(self.results, self.regions), note))
        if len(self.results) > 1 and first.label_names:
            found.append(Table("Labels won", *wins_table(self.results), WINS_NOTE))
        return found

    @property
    def statistics(self) -> Table | None:
        """For each pair of methods: corrected p, effect, and share of pairs in which the first is better."""
        if not self.comparisons:
            return None
        couples = list(dict.fromkeys((c.first, c.second) for c in self.comparisons))
        metrics = list(dict.fromkeys(c.metric for c in self.comparisons))
        title, meaning = DESCRIPTIONS[self.test]
        alternative = self.comparisons[0].alternative
        title += "" if alternative == "two-sided" else f", {SIDES[alternative]}"
        cells = {
            (c.first, c.second, c.metric): f"{format_p(c.p_corrected)} ({c.effect:+.2f}), {100 * c.first_better:.0f}%"
            if math.isfinite(c.p)
            else "–"
            for c in self.comparisons
        }
        return Table(
            f"{title}, {meaning.format(n=len(couples))}; share of pairs in which the first is better",
            ["Methods", *(metric_title(m, "").replace(" ()", "") for m in metrics)],
            [[f"{a} - {b}", *(cells[a, b, m] for m in metrics)] for a, b in couples],
        )

    def save(self, folder: str | os.PathLike[str], worst: int = 4, progress: Progress | None = None) -> list[Path]:
        """Write table.md, table.csv, statistics.csv and report.html, and the tables of regions and label tests, if any.

        The report links to interactive views of the pairs that it shows, which are written to the folder ``views``.

        Args:
            folder: created if it does not exist; files of an earlier comparison are replaced.
            worst: number of worst pairs of each method to show in pictures, and after them the best pair; 0 for none.
            progress: called with (text, done, total) before each picture.

        Returns:
            The files.

        Raises:
            AcregError: another process is writing into the folder.
            OSError: the disk is full, or writing is not permitted.
        """
        folder = Path(folder)
        earlier = [*(folder / name for name in FILES), *folder.glob(f"{VIEWS}/*/*__*.html")]
        with all_or_none(folder, replaced=earlier) as staged:
            first, *more = self.tables
            parts = [markdown(first.columns, first.rows)]
            parts += [f"{each.title}. {each.note}\n\n{markdown(each.columns, each.rows)}" for each in more]
            (staged / "table.md").write_text("\n".join(parts), encoding="utf-8")
            write_summary_csv(self.results, staged / "table.csv")
            write_statistics_csv(self.comparisons, staged / "statistics.csv")
            if self.label_comparisons:
                write_statistics_csv(self.label_comparisons, staged / "label_statistics.csv")
            if self.regions:
                write_regions_csv(self.results, self.regions, staged / "regions.csv")
            page = build_report(
                self.results,
                self.comparisons,
                worst,
                progress or notebook_bars(),
                self.regions,
                self.label_comparisons,
                folder=staged,
            )
            (staged / "report.html").write_text(page, encoding="utf-8")
            self.files = [folder / name for name in FILES if (staged / name).exists()]
            self.files += [folder / path.relative_to(staged) for path in sorted(staged.glob(f"{VIEWS}/*/*"))]
        return self.files

    def __repr__(self) -> str:
        names = ", ".join(result.name for result in self.results)
        return f"MethodComparison({names}: {len(self.results[0].pairs)} pairs, {len(self.comparisons)} tests)"

    def _repr_html_(self) -> str:
        shown = [*self.tables, *([self.statistics] if self.statistics else [])]
        return "".join(table_html(each.rows, each.columns, f"{each.title}. {each.note}".strip()) for each in shown)


def compare(
    *folders: str | os.PathLike[str],
    test: Test = "wilcoxon",
    alternative: Alternative = "two-sided",
    label_tests: bool = False,
    regions: str | os.PathLike[str] | None = None,
    fixed: str | None = None,
) -> MethodComparison:
    """Compare evaluated methods, as `acreg compare` does; `save` writes its files.

    Args:
        folders: results of `acreg.evaluate`, of one method or of several.
        test: "wilcoxon", "mann-whitney", "welch" or "tukey", see `acreg.evaluation.statistics.compare_methods`.
        alternative: what a small p of "wilcoxon" or "mann-whitney" speaks for: "two-sided", the methods differ;
            "better", the first of the two is better; "worse", it is worse. For the last two, methods are in the order
            of `folders` (those of one evaluation by name), so that the hypothesis does not follow from the results.
        label_tests: test each label, too.
        regions: regions of labels for a table of means: "dkt31-5" (Mindboggle), or a CSV file label,region.
        fixed: a pattern such as "MCUCXR_*_1"; only pairs whose fixed subject's name matches are compared.

    Raises:
        UsageError: no folder or a file is given, the alternative is unknown or the test has no such side, `label_tests`
            is given but the results have no labels, no subject's name matches the pattern, or the table of regions is
            unknown.
        AcregError: results are missing or damaged, the methods registered different pairs, or no label is in a region.
    """
    paths = [Path(folder) for folder in folders]
    check_folders(paths)
    grouped = read_region_table(os.fspath(regions)) if regions else None
    loaded = load_results(paths)
    results = order_methods(loaded)
    check_same_pairs(results)
    if fixed is not None:
        keep_pairs(results, fixed)
    if grouped:
        check_regions(results, grouped)
    if label_tests and not results[0].label_names:
        raise UsageError(
            f"Labels are tested where pairs have labels. Received: {argument('label_tests', True)} for results without "
            "any. Leave it out."
        )
    tested = results if alternative == "two-sided" else loaded
    comparisons = compare_methods(tested, test=test, alternative=alternative)
    labels = list(results[0].label_names)
    by_label = compare_methods(tested, None, test, labels, alternative) if label_tests else []
    return MethodComparison(results, comparisons, by_label, test, grouped)


def check_folders(folders: Sequence[Path]) -> None:
    """Raise `UsageError` unless there is at least one folder, and no file."""
    for path in folders:
        if path.exists() and not path.is_dir():
            raise UsageError(f"Results lie in a folder. Received: {path}, a file. Name what `acreg evaluate` wrote.")
    if not folders:
        raise UsageError("Results are compared from folders. Received: none. Name what `acreg evaluate` wrote.")
