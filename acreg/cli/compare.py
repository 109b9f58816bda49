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
    from acreg.report.comparison import check_folders
    from acreg.report.comparison import compare as library

    check_folders(folders)
    target = folder or folders[0]
    hold(target)
    found = library(*folders, test=test, label_tests=label_tests, regions=regions, fixed=fixed)
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
