"""``acreg template``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli.console import bars, note, out, warn


def template(
    images: Annotated[
        Path,
        typer.Option(
            help="Folder of images, or CSV file with the column image and optionally subject.", show_default=False
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder for the results; an interrupted run in it is continued.", show_default=False
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            help="Name of the image to which the others are aligned first. Default: the first one.", show_default=False
        ),
    ] = None,
    linear: Annotated[
        Literal["translation", "rigid", "similarity", "affine", "none"],
        typer.Option(help="Linear alignment before the rounds; none: the headers align the images."),
    ] = "affine",
    similarity: Annotated[
        str, typer.Option(help="Similarity of images: auto, local_ncc, ncc, mind_ssc or another loss on images.")
    ] = "auto",
    rounds: Annotated[int, typer.Option(min=0, help="Number of rounds at most.")] = 4,
    change: Annotated[
        float,
        typer.Option(min=0, help="Stop when a round changes the template by less than this share of its contrast."),
    ] = 0.05,
    sharpen: Annotated[float, typer.Option(min=0, help="Sharpening of the mean of each round; 0 for none.")] = 0.0,
    spacing: Annotated[
        float | None,
        typer.Option(help="Voxel size of the template in mm. Default: that of the images.", show_default=False),
    ] = None,
) -> None:
    """Make an unbiased mean image of a group.

    All images are aligned to one of them, then to their mean. Then, in each round, they are registered to the mean,
    the mean deformation is removed, and a new mean is made. Writes template.nii.gz (.png for pictures); for each image
    subjects/<name>/transform.h5, inverse_transform.h5 and warped.*; preview.png; and template.json, with what each
    round did and the images that failed. These are left out of the template, and the exit code is then 1. To continue
    an interrupted run, run the same command again.

    \b
    Examples:
      acreg template --images folder --out result
      acreg template --images list.csv --out result --linear rigid --rounds 3
    """
    from acreg.applications.groupwise.command import template as library

    with bars() as show:
        found = library(
            images,
            folder,
            reference=reference,
            linear=linear,
            similarity=similarity,
            rounds=rounds,
            change=change,
            sharpen=sharpen,
            spacing=spacing,
            progress=show,
            say=note,
        )
    out(str(folder / found.record["template"]))
    for row in found.record["subjects"]:
        if not (folder / row["folder"] / "inverse_transform.h5").is_file():
            warn(f"{row['subject']} has no inverse_transform.h5. {row['inverse']}")
    for name, reason in found.failures.items():
        warn(f"{name} failed and is not in the template. {reason}")
    if found.failures:
        raise typer.Exit(1)
