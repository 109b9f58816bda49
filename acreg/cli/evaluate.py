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
            help="Prepared dataset: a folder, a name under $ACREG_DATA, 'phantoms' or 'mni152'.", show_default=False
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or folder of a preset, or NAME=PRESET; may be repeated.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Method without a preset, or NAME=TOOL:KIND: {METHODS}; may be repeated.",
            show_default=False,
            metavar="TOOL:KIND",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for the classical methods.", metavar="N")] = 1,
    split: Annotated[str, typer.Option(help="Split to evaluate: train, validation or test.")] = "test",
    pairs: Annotated[
        str | None,
        typer.Option(
            help="Pairs to register: 2N (twice the number of subjects, or all pairs if there are fewer), a number, "
            "all, within-groups (in each group of the manifest, the first subject is fixed and each of the others "
            "moving), or a CSV file with the columns fixed,moving and optionally transform. Default: pairs.csv of the "
            "dataset if there is one, else 2N.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed for drawing the pairs and for the methods without a preset.")
    ] = 0,
    refine: Annotated[
        int,
        typer.Option(
            min=0, help="Maximum number of refinement steps for each pair; 0 means no refinement.", metavar="STEPS"
        ),
    ] = 0,
    affine_part: Annotated[
        bool, typer.Option("--affine-part", help="Also score the affine part of each model that has one.")
    ] = False,
    save: Annotated[
        str,
        typer.Option(
            help="Results to save for every pair, any of labels,displacement,transform,images,view,slicer; a "
            "transform is saved with its inverse, view is the page of acreg view, and slicer a scene for 3D Slicer."
        ),
    ] = "",
    unregistered: Annotated[
        bool, typer.Option("--unregistered/--no-unregistered", help="Also score the pairs as their headers place them.")
    ] = True,
    border: BorderOption = None,
    fill: FillOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Score presets and other methods on pairs of a dataset.

    Registers the same pairs with every method. Measures, for each label and on the grid of the images, the Dice
    coefficient, the Hausdorff distance, its 95th percentile, the mean surface distance and the distance of the
    centroids (TRE), and for each pair the folding of the field and the time. If the pairs have true transforms, as
    those of `acreg data synthesize` have, it also measures how far the predicted positions of the labelled voxels lie
    from the true ones. For pairs without labels it measures NCC and SSIM of the images, folding and time. Doubtful
    results (see `acreg register`) are counted and named. Writes pairs.csv and summary.json for each method once the
    method is complete. To continue an interrupted evaluation, run the same command again: complete methods are kept if
    weights, data, pairs and settings are the same.

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
