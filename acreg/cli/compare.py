"""`acreg compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli.console import bars, hold, out, table


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Results of `acreg evaluate`, for one method or several.", show_default=False
        ),
    ],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. Default: the first DIR.", show_default=False)
    ] = None,
    test: Annotated[
        Literal["wilcoxon", "mann-whitney", "welch", "tukey"],
        typer.Option(
            help="Statistical test: wilcoxon is paired, mann-whitney (ranks) and welch (means) are unpaired, tukey is "
            "Tukey's range test over all methods. The report names the correction for multiple tests."
        ),
    ] = "wilcoxon",
    alternative: Annotated[
        Literal["two-sided", "better", "worse"],
        typer.Option(
            help="What a small p of wilcoxon or mann-whitney speaks for: the methods differ, or the first of the two "
            "is better or worse. For better and worse, methods are in the order of the folders, those in one folder "
            "by name."
        ),
    ] = "two-sided",
    label_tests: Annotated[
        bool,
        typer.Option(
            "--label-tests", help="Also test each label; adds a table to the report and label_statistics.csv."
        ),
    ] = False,
    regions: Annotated[
        str | None,
        typer.Option(
            help="Also report means over regions of labels: dkt31-5 (Mindboggle), or a CSV file with the columns "
            "label,region.",
            show_default=False,
        ),
    ] = None,
    fixed: Annotated[
        str | None,
        typer.Option(
            help="Compare only pairs whose fixed subject matches this pattern, such as 'MCUCXR_*_1'.",
            show_default=False,
        ),
    ] = None,
    worst: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of worst pairs to show for each method, with the best pair after them; 0 for none. The view "
            "of each pair is a file of some megabytes.",
        ),
    ] = 4,
) -> None:
    """Compare evaluated methods: table, tests and an HTML report.

    Prints the mean (SD) of each metric. For every two methods it prints the corrected p-value, the effect size and the
    share of pairs in which the first method is better. Writes table.md, table.csv, statistics.csv and report.html with
    plots, and interactive views of the pairs that the report shows in the folder views. If there are several methods,
    it also counts the labels on which each method is best. With --regions it adds a table of regions and writes
    regions.csv. All methods must have been evaluated on the same pairs. The report and the views show images of the
    dataset: check the licence of the dataset before you share them.

    \b
    Example:
      acreg evaluate --model acregnet-jsrt --data jsrt --out results/jsrt
      acreg compare results/jsrt
      acreg compare results/mindboggle --regions dkt31-5
      acreg compare results/hearts --test welch --label-tests
      acreg compare results/transfer results/scratch --test mann-whitney --alternative better
      acreg compare results/montgomery --fixed 'MCUCXR_*_1' --out results/montgomery/diseased
    """
    from acreg.report.comparison import check_folders
    from acreg.report.comparison import compare as library

    check_folders(folders)
    target = folder or folders[0]
    hold(target)
    found = library(*folders, test=test, alternative=alternative, label_tests=label_tests, regions=regions, fixed=fixed)
    with bars() as show:
        found.save(target, worst, show)
    for number, (title, columns, rows, note) in enumerate(found.tables):
        if number:
            out()
        table(title, columns, rows)
        if note:
            out(note)
    if found.statistics:
        out()
        table(*found.statistics[:3])
    out(f"\nReport: {target / 'report.html'}")
