"""``acreg classify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import bars, hold, note, out, table


def classify(
    data: Annotated[
        str, typer.Option("--data", help="Dataset with label maps: a folder, or a name under $ACREG_DATA.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    diseased: Annotated[
        str | None,
        typer.Option(help="Pattern for the names of diseased subjects, such as 'MCUCXR_*_1'.", show_default=False),
    ] = None,
    flags: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the columns subject,diseased, or the list of ChestX-ray14.", show_default=False
        ),
    ] = None,
    finding: Annotated[str, typer.Option(help="Finding in the list of ChestX-ray14, such as Cardiomegaly.")] = "",
    autoencoder: Annotated[
        str | None,
        typer.Option(help="Preset of a label autoencoder; its codes become features as well.", show_default=False),
    ] = None,
    heart: Annotated[
        int | None, typer.Option(help="Label of the heart, for the cardiothoracic ratio.", show_default=False)
    ] = None,
    lungs: Annotated[str, typer.Option(help="Labels of the lungs, for the cardiothoracic ratio.")] = "1,2",
    folds: Annotated[int, typer.Option(min=2, help="Number of folds of the cross-validation.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the folds.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Classify disease by the shape of segmentations.

    Computes features of all label maps of a dataset: the masks, reduced to 32 principal components; with --autoencoder,
    its codes; with --heart, the cardiothoracic ratio. In every fold of a cross-validation, a support vector machine is
    fitted to each kind of feature. Subjects of one group of the manifest, such as the images of a patient, are in one
    fold. Prints the accuracy and the area under the ROC curve with 95 % intervals, and writes scores.csv, summary.json
    and roc.png. To classify your own segmentations, give a dataset that has them as labels.

    \b
    Examples:
      acreg classify --data montgomery --diseased 'MCUCXR_*_1' --autoencoder autoencoder-montgomery --out results/tb
      acreg classify --data cohort --flags Data_Entry_2017.csv --finding Cardiomegaly --heart 3 --out results/heart
    """
    from acreg.applications.classification import COLUMNS, FILES
    from acreg.applications.classification import classify as library
    from acreg.io import check_free

    hold(folder)
    check_free(folder, FILES, overwrite)
    with bars() as show:
        found = library(
            data,
            diseased=diseased,
            flags=flags,
            finding=finding,
            autoencoder=autoencoder,
            heart=heart,
            lungs=lungs,
            folds=folds,
            seed=seed,
            progress=show,
            say=note,
        )
    found.save(folder, overwrite=overwrite)
    table(found.title, COLUMNS, found.rows)
    out(f"\nROC curves: {folder / 'roc.png'}")
