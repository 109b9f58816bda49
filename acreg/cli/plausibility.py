"""``acreg plausibility``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli.console import hold, note, out, progress, table
from acreg.errors import UsageError


def plausibility(
    model: Annotated[str, typer.Option("--model", help="Preset of a label autoencoder.", show_default=False)],
    data: Annotated[str, typer.Option("--data", help="Prepared dataset, or its name.", show_default=False)],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    split: Annotated[
        Literal["train", "validation", "test", "all"], typer.Option("--split", help="Where masks are drawn from.")
    ] = "test",
    masks: Annotated[int, typer.Option("--masks", min=1, help="Random masks.")] = 20,
    pixels: Annotated[int, typer.Option("--pixels", min=1, help="Pixels that each modification changes.")] = 120,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the masks and the blocks' places.")] = 0,
) -> None:
    """Show that codes tell plausible from implausible anatomy.

    Takes random label maps and sets the same number of pixels to background in four ways: along the borders of the
    organs (plausible), and as a block out of one organ (three ways, not plausible). Prints the cross-entropy, which
    cannot tell them apart, and the squared distance of the autoencoder's codes, which can; writes table.csv, table.md,
    summary.json and figure.png. This is section 5.1 and Figure 2 of the AC-RegNet paper. The figure shows a label map
    of the dataset: mind its licence before passing it on.

    \b
    Example:
      acreg plausibility --model autoencoder-jsrt --data jsrt --out results/plausibility
    """
    from acreg.applications.plausibility.results import COLUMNS, table_rows, write_results
    from acreg.applications.plausibility.study import run
    from acreg.data.manifest import Dataset, dataset_folder
    from acreg.io import all_or_none
    from acreg.models import LabelAutoencoder, from_preset

    hold(folder)
    autoencoder = from_preset(model)
    if not isinstance(autoencoder, LabelAutoencoder):
        raise UsageError(
            f"The experiment needs a label autoencoder. Received: {model}, a {type(autoencoder).__name__}. Give the "
            "preset of the autoencoder; a training run writes it beside that of the network."
        )
    dataset = Dataset.load(dataset_folder(data))
    note(f"{masks} masks of {dataset.name} ({split}), {pixels} pixels changed in four ways")
    with progress("Reading labels", masks) as advance:
        outcome = run(autoencoder, dataset, split, masks, pixels, seed, lambda text, done, total: advance())
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
