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
            help="CSV with columns image and labels, such as segmentations.csv; with truth, too.", show_default=False
        ),
    ],
    data: _batch.Data,
    folder: _batch.Out,
    model: _batch.Model = None,
    method: _batch.MethodName = None,
    references: Annotated[int, typer.Option(min=1, help="Of each image, the most similar ones.")] = 10,
    similarity: _batch.SimilarityName = "ncc",
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Predicted Dice from which on one is accepted.")
    ] = 0.92,
    split: _batch.Split = "train",
    batch: _batch.Batch = None,
    threads: _batch.Threads = 1,
    seed: _batch.Seed = 0,
    engine: _batch.EngineName = "local",
    address: _batch.Address = None,
    workers: _batch.Workers = 1,
) -> None:
    """Predict how good segmentations are, without their truth (reverse classification accuracy).

    Each segmentation becomes an atlas: its image is registered to the most similar subjects of a labelled dataset (the
    references), and the labels that it brings there are compared with theirs. The predicted Dice is that of the best
    reference, the mean over labels. Writes a row of quality.csv for each image, failures.csv, summary.json and
    quality.png, a histogram with examples; where the list of images has a column truth, also how well the prediction
    agrees with the true Dice. The same command goes on where a killed run stopped.

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
