"""``acreg quality``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli import _batch
from acreg.cli.console import bars, note, out


def quality(
    images: Annotated[
        Path,
        typer.Option(
            help="CSV file with the columns image and labels, such as segmentations.csv, and optionally truth.",
            show_default=False,
        ),
    ],
    data: _batch.Data,
    folder: _batch.Out,
    model: _batch.Model = None,
    method: _batch.MethodName = None,
    references: Annotated[
        int, typer.Option(min=1, help="Number of references for each image, the most similar ones.")
    ] = 10,
    similarity: _batch.SimilarityName = "ncc",
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Smallest predicted Dice at which a segmentation is accepted.")
    ] = 0.92,
    split: _batch.Split = "train",
    batch: _batch.Batch = None,
    threads: _batch.Threads = 1,
    seed: _batch.Seed = 0,
    engine: _batch.EngineName = "local",
    address: _batch.Address = None,
    workers: _batch.Workers = 1,
) -> None:
    """Predict segmentation quality without ground truth.

    The method is reverse classification accuracy. Each segmentation serves as an atlas: its image is registered to the
    most similar subjects of a labelled dataset (the references), and the warped segmentation is compared with the
    labels of each reference. The predicted Dice is the Dice with the best reference, averaged over labels. Writes
    quality.csv, with one row per image, failures.csv, summary.json and quality.png, a histogram with examples. If the
    CSV file has the column truth, the command also reports how well the predicted Dice agrees with the true one. To
    continue an interrupted run, run the same command again.

    \b
    Example:
      acreg segment --images folder --data jsrt --model acregnet-jsrt --out result
      acreg quality --images result/segmentations.csv --data jsrt --model acregnet-jsrt --out quality
    """
    from acreg.applications.batch.commands import quality as library

    with bars() as show:
        found = library(
            images,
            data,
            folder,
            model=model,
            method=method,
            references=references,
            similarity=similarity,
            threshold=threshold,
            split=split,
            batch=batch,
            threads=threads,
            seed=seed,
            engine=engine,
            address=address,
            workers=workers,
            progress=show,
            say=note,
        )
    _batch.say_done(found)
    out(f"Histogram with examples: {folder / 'quality.png'}")
