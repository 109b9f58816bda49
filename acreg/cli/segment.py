"""``acreg segment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli import _batch
from acreg.cli.console import bars, note


def segment(
    images: Annotated[
        Path,
        typer.Option(
            help="Image, folder of images, or CSV file with the column image: the images to segment.",
            show_default=False,
        ),
    ],
    folder: _batch.Out,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled dataset: a folder, or a name under $ACREG_DATA. None for a segmenter.", show_default=False
        ),
    ] = None,
    model: _batch.Model = None,
    method: _batch.MethodName = None,
    atlases: Annotated[int, typer.Option(min=1, help="Number of atlases for each image, the most similar ones.")] = 5,
    similarity: _batch.SimilarityName = "ncc",
    fusion: Annotated[
        Literal["majority", "weighted", "staple"],
        typer.Option(help="How the labels of the atlases are fused into one label map."),
    ] = "majority",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probability of each label.")
    ] = False,
    flips: Annotated[
        bool,
        typer.Option(
            "--flips", help="Segmenter: mean over the image and its mirror images; for symmetric labels only."
        ),
    ] = False,
    split: _batch.Split = "train",
    batch: _batch.Batch = None,
    threads: _batch.Threads = 1,
    seed: _batch.Seed = 0,
    engine: _batch.EngineName = "local",
    address: _batch.Address = None,
    workers: _batch.Workers = 1,
) -> None:
    """Segment images by a network, or by multi-atlas label fusion.

    With the preset of a segmenter as --model, the network labels each image itself. Otherwise, for each image, the
    most similar subjects of a dataset (the atlases) are registered to it, and their warped labels
    are fused by majority vote, by votes weighted by similarity, or by STAPLE. An image is never its own atlas. Writes
    labels/<name>.png or .nii.gz; segmentations.csv, with one row per image, which other commands accept as a dataset;
    and failures.csv, which lists the images that failed and why. To continue an interrupted run, run the same command
    again.

    \b
    Examples:
      acreg segment --images folder --model runs/segmenter-jsrt/preset --out result
      acreg segment --images new.png --data jsrt --model acregnet-jsrt --out result
      acreg segment --images folder --data jsrt --model acregnet-jsrt --fusion staple --out result
      acreg quality --images result/segmentations.csv --data jsrt --model acregnet-jsrt --out quality
    """
    from acreg.applications.batch.commands import segment as library

    with bars() as show:
        found = library(
            images,
            data,
            folder,
            model=model,
            method=method,
            atlases=atlases,
            similarity=similarity,
            fusion=fusion,
            probabilities=probabilities,
            flips=flips,
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
