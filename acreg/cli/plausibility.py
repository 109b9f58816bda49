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
    from acreg.applications.plausibility.results import COLUMNS, table_rows, write_results
    from acreg.applications.plausibility.study import run
    from acreg.data.manifest import Dataset, dataset_folder
    from acreg.io import all_or_none
    from acreg.models.presets import load_autoencoder

    hold(folder)
    autoencoder = load_autoencoder(model)
    dataset = Dataset.load(dataset_folder(data))
    note(f"{masks} masks of {dataset.name} ({split}), {pixels} pixels changed in four ways")
    with bars() as show:
        outcome = run(autoencoder, dataset, split, masks, pixels, seed, show)
    settings = {
        "model": model,
        "dataset": dataset.name,
        "split": split,
        "masks": masks,
        "pixels": pixels,
        "seed": seed,
        "grid": list(autoencoder.shape),
    }
    with all_or_none(folder) as staged:
        write_results(outcome, staged, settings)
    table(f"{dataset.name}, {masks} masks, {pixels} pixels changed", COLUMNS, table_rows(outcome))
    out(f"\nFigure: {folder / 'figure.png'}")
