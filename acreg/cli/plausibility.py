"""``acreg plausibility``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli.console import bars, hold, note, out, table


def plausibility(
    model: Annotated[str, typer.Option("--model", help="Preset of a label autoencoder.", show_default=False)],
    data: Annotated[
        str,
        typer.Option("--data", help="Prepared dataset: a folder, or a name under $ACREG_DATA.", show_default=False),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    split: Annotated[
        Literal["train", "validation", "test", "all"],
        typer.Option("--split", help="Split from which the masks are drawn."),
    ] = "test",
    masks: Annotated[int, typer.Option("--masks", min=1, help="Number of masks, drawn at random.")] = 20,
    pixels: Annotated[
        int, typer.Option("--pixels", min=1, help="Number of pixels that each modification changes.")
    ] = 120,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Random seed for the masks and the positions of the blocks.")
    ] = 0,
) -> None:
    """Test autoencoder codes on implausible anatomy.

    Draws random label maps and sets the same number of pixels to background in four ways: along the borders of the
    organs (plausible), and as a block cut out of one organ (three ways, all implausible). Prints the cross-entropy,
    which cannot tell them apart, and the squared distance between the autoencoder's codes, which can. Writes table.csv,
    table.md, summary.json and figure.png. This reproduces section 5.1 and Figure 2 of the AC-RegNet paper. The figure
    shows a label map of the dataset: check the licence of the dataset before you share it.

    \b
    Example:
      acreg plausibility --model autoencoder-jsrt --data jsrt --out results/plausibility
    """
    from acreg.applications.plausibility.experiment import plausibility as library
    from acreg.applications.plausibility.results import COLUMNS

    hold(folder)
    with bars() as show:
        found = library(model, data, split=split, masks=masks, pixels=pixels, seed=seed, progress=show, say=note)
    found.save(folder)
    table(found.title, COLUMNS, found.rows)
    out(f"\nFigure: {folder / 'figure.png'}")
