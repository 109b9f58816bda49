"""`acreg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli._border import BorderOption, FillOption
from acreg.cli.console import bars, hold, note, out, table, warn
from acreg.cli.register import METHODS


def evaluate(
    data: Annotated[
        str,
        typer.Option(
            help="Prepared dataset: a folder, a name under $ACREG_DATA, phantoms or mni152.", show_default=False
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Preset name or folder, or NAME=PRESET; may be repeated.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Classical method, or NAME=TOOL:KIND: {METHODS}; may be repeated.",
            show_default=False,
            metavar="TOOL:KIND",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the classical methods.", metavar="N")] = 1,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    pairs: Annotated[
        str | None,
        typer.Option(
            help="2N (twice the number of subjects, at most all), a number, or a CSV file with columns fixed,moving "
            "and perhaps transform. If left out: the dataset's own pairs.csv, else 2N.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw of pairs and of the classical methods.")] = 0,
    refine: Annotated[
        int, typer.Option(min=0, help="Steps of refinement for each pair, at most; 0 is none.", metavar="STEPS")
    ] = 0,
    affine_part: Annotated[
        bool, typer.Option("--affine-part", help="Add a row for the affine part of each model that has one.")
    ] = False,
    save: Annotated[
        str,
        typer.Option(
            help="What to save of every pair, any of labels,displacement,transform,images; a transform with its "
            "inverse."
        ),
    ] = "",
    unregistered: Annotated[
        bool, typer.Option("--unregistered/--no-unregistered", help="Add a row for no registration.")
    ] = True,
    border: BorderOption = None,
    fill: FillOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
) -> None:
    """Score presets and classical methods on pairs of a dataset.

    Registers the same pairs with every method and measures Dice, Hausdorff distances (also the 95th percentile) and
    mean surface distance of each label on the images' own grid, folding of the field, and time. Where the pairs have
    true transforms, as those of `acreg data synthesize`, also the distance to where these send the labels' voxels. Of
    pairs without labels: NCC and SSIM of the images, folding and time. Doubtful results (see `acreg register`) are
    counted and named. Writes pairs.csv and summary.json per method, when it is complete. The same
    command goes on where an evaluation was interrupted: complete methods are kept, if weights, data, pairs and settings
    are the same.

    \b
    Examples:
      acreg evaluate --model acregnet-jsrt --data jsrt --split test --pairs 2N --seed 0 --out results/jsrt
      acreg evaluate --model acregnet-jsrt --method sitk:affine --method ants:SyN --data jsrt --out results/jsrt
      acreg evaluate --method "demons=sitk:demons[smoothing=1,affine=false]" --data hearts --out results/hearts
      acreg compare results/jsrt
    """
    from acreg.evaluation import evaluate as library

    hold(folder)
    with bars() as show:
        found = library(
            data,
            folder,
            model=model or [],
            method=method or [],
            threads=threads,
            split=split,
            pairs=pairs,
            seed=seed,
            refine=refine,
            affine_part=affine_part,
            save=save,
            unregistered=unregistered,
            border=border,
            fill=fill,
            overwrite=overwrite,
            progress=show,
            say=note,
        )
    table(f"{found.title}: mean (SD)", *found.table())
    for text in found.notes:
        note(text)
    for text in found.doubtful:
        warn(text)
    out(f"Results: {folder}. Next: acreg compare {folder}")
