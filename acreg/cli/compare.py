"""`acreg compare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli.console import out, progress, table


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
        Literal["wilcoxon", "mann-whitney", "tukey"],
        typer.Option(help="Paired; unpaired; or of the range over all methods. The report names the corrections."),
    ] = "wilcoxon",
    worst: Annotated[int, typer.Option(min=0, help="Worst pairs to show in pictures, per method.")] = 4,
) -> None:
    """Compare evaluated methods: table, tests and an HTML report.

    Prints the mean (SD) of each metric and the corrected p (and the effect) of all differences; writes table.md,
    table.csv, statistics.csv and report.html, a single file with plots that needs nothing else. All methods must have
    seen the same pairs.
    The report shows images of the dataset: mind its licence before passing it on.

    \b
    Example:
      acreg evaluate --model acregnet-jsrt --data jsrt --out results/jsrt
      acreg compare results/jsrt
    """
    from acreg.io import atomic_path
    from acreg.report import check_same_pairs, load_results
    from acreg.report.html import build_report
    from acreg.report.statistics import DESCRIPTIONS, compare_methods
    from acreg.report.tables import (
        format_p,
        markdown,
        metric_title,
        order_methods,
        summary_table,
        write_statistics_csv,
        write_summary_csv,
    )

    results = order_methods(load_results(folders))
    check_same_pairs(results)
    comparisons = compare_methods(results, test=test)
    target = folder or folders[0]
    columns, rows = summary_table(results)
    with progress("Drawing") as advance:
        report = build_report(results, comparisons, worst, lambda text, done, total: advance(1, text))
    with atomic_path(target / "table.md") as path:
        path.write_text(markdown(columns, rows), encoding="utf-8")
    write_summary_csv(results, target / "table.csv")
    write_statistics_csv(comparisons, target / "statistics.csv")
    with atomic_path(target / "report.html") as path:
        path.write_text(report, encoding="utf-8")

    dataset = results[0].summary.get("dataset", {})
    table(f"{dataset.get('name')}, {dataset.get('split')}, {len(results[0].pairs)} pairs: mean (SD)", columns, rows)
    if comparisons:
        couples = list(dict.fromkeys((c.first, c.second) for c in comparisons))
        title, meaning = DESCRIPTIONS[test]
        metrics = list(dict.fromkeys(c.metric for c in comparisons))
        found = {
            (c.first, c.second, c.metric): f"{format_p(c.p_corrected)} ({c.effect:+.2f})" if math.isfinite(c.p) else "–"
            for c in comparisons
        }
        out()
        table(
            f"{title}, {meaning.format(n=len(couples))}",
            ["Methods", *(metric_title(m, "").replace(" ()", "") for m in metrics)],
            [[f"{a} - {b}", *(found[a, b, m] for m in metrics)] for a, b in couples],
        )
    out(f"\nReport: {target / 'report.html'}")
