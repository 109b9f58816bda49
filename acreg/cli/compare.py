"""`acreg compare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli.console import hold, out, progress, table
from acreg.errors import UsageError


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Results of acreg evaluate: of a method, or of several.", show_default=False
        ),
    ],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to write; the first DIR if left out.", show_default=False)
    ] = None,
    test: Annotated[
        Literal["wilcoxon", "mann-whitney", "welch", "tukey"],
        typer.Option(
            help="Paired; unpaired, by ranks or by means; or of the range over all methods. The report names the "
            "corrections."
        ),
    ] = "wilcoxon",
    label_tests: Annotated[
        bool, typer.Option("--label-tests", help="Test each label, too: in the report and label_statistics.csv.")
    ] = False,
    regions: Annotated[
        str | None,
        typer.Option(
            help="Regions of labels, for means of their labels: dkt31-5 (Mindboggle), or a CSV label,region.",
            show_default=False,
        ),
    ] = None,
    fixed: Annotated[
        str | None,
        typer.Option(
            help="Only pairs whose fixed subject has a name like this, such as 'MCUCXR_*_1'.", show_default=False
        ),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Worst pairs to show in pictures, per method.")] = 4,
) -> None:
    """Compare evaluated methods: table, tests and an HTML report.

    Prints the mean (SD) of each metric and, of all differences, the corrected p, the effect and the share of pairs in
    which the first method is better; writes table.md, table.csv, statistics.csv and report.html, a single file with
    plots that needs nothing else. Of several methods it also counts the labels on which each is the best. With
    --regions there is a table of the labels' regions, too, and a regions.csv. All methods must have seen the same
    pairs.
    The report shows images of the dataset: mind its licence before passing it on.

    \b
    Example:
      acreg evaluate --model acregnet-jsrt --data jsrt --out results/jsrt
      acreg compare results/jsrt
      acreg compare results/mindboggle --regions dkt31-5
      acreg compare results/hearts --test welch --label-tests
      acreg compare results/montgomery --fixed 'MCUCXR_*_1' --out results/montgomery/diseased
    """
    from acreg.data.region_table import read_region_table
    from acreg.evaluation import check_same_pairs, keep_pairs, load_results
    from acreg.evaluation.regions import check_regions, region_note, region_table, write_regions_csv
    from acreg.evaluation.statistics import DESCRIPTIONS, compare_methods
    from acreg.evaluation.tables import (
        WINS_NOTE,
        format_p,
        markdown,
        metric_title,
        order_methods,
        summary_table,
        wins_table,
        write_statistics_csv,
        write_summary_csv,
    )
    from acreg.io import all_or_none
    from acreg.report.html import build_report

    target = folder or folders[0]
    for path in folders:
        if path.exists() and not path.is_dir():
            raise UsageError(f"Results lie in a folder. Received: {path}, a file. Name what `acreg evaluate` wrote.")
    hold(target)
    grouped = read_region_table(regions) if regions else None
    results = order_methods(load_results(folders))
    check_same_pairs(results)
    if fixed is not None:
        keep_pairs(results, fixed)
    if grouped:
        check_regions(results, grouped)
    if label_tests and not results[0].label_names:
        raise UsageError(
            "Labels are tested where pairs have labels. Received: --label-tests for results without any. Leave it out."
        )
    comparisons = compare_methods(results, test=test)
    by_label = compare_methods(results, test=test, labels=list(results[0].label_names)) if label_tests else []
    dataset = results[0].summary.get("dataset", {})
    labelled = results[0].labelled_pairs
    some = "" if labelled >= len(results[0].pairs) else f", {labelled} with labels"
    title = f"{dataset.get('name')}, {dataset.get('split')}, {len(results[0].pairs)} pairs{some}: mean (SD)"
    tables = [(title, *summary_table(results), "")]
    if grouped:
        note = region_note(results, grouped)
        tables.append((f"Regions of {grouped.name}: mean (SD)", *region_table(results, grouped), note))
    if len(results) > 1 and results[0].label_names:
        tables.append(("Labels won", *wins_table(results), WINS_NOTE))
    with progress("Drawing") as advance:
        report = build_report(
            results, comparisons, worst, lambda text, done, total: advance(1, text), grouped, by_label
        )
    files = ("table.md", "table.csv", "statistics.csv", "label_statistics.csv", "regions.csv", "report.html")
    with all_or_none(target, replaced=[target / name for name in files]) as staged:
        first, *more = tables
        parts = [markdown(*first[1:3]), *(f"{name}. {note}\n\n{markdown(c, r)}" for name, c, r, note in more)]
        (staged / "table.md").write_text("\n".join(parts), encoding="utf-8")
        write_summary_csv(results, staged / "table.csv")
        write_statistics_csv(comparisons, staged / "statistics.csv")
        if by_label:
            write_statistics_csv(by_label, staged / "label_statistics.csv")
        if grouped:
            write_regions_csv(results, grouped, staged / "regions.csv")
        (staged / "report.html").write_text(report, encoding="utf-8")

    for number, (name, columns, rows, note) in enumerate(tables):
        if number:
            out()
        table(name, columns, rows)
        if note:
            out(note)
    if comparisons:
        couples = list(dict.fromkeys((c.first, c.second) for c in comparisons))
        title, meaning = DESCRIPTIONS[test]
        metrics = list(dict.fromkeys(c.metric for c in comparisons))
        found = {
            (c.first, c.second, c.metric): f"{format_p(c.p_corrected)} ({c.effect:+.2f}), {100 * c.first_better:.0f}%"
            if math.isfinite(c.p)
            else "–"
            for c in comparisons
        }
        out()
        table(
            f"{title}, {meaning.format(n=len(couples))}; share of pairs in which the first is better",
            ["Methods", *(metric_title(m, "").replace(" ()", "") for m in metrics)],
            [[f"{a} - {b}", *(found[a, b, m] for m in metrics)] for a, b in couples],
        )
    out(f"\nReport: {target / 'report.html'}")
