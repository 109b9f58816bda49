"""`acreg warp`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli._border import BorderOption, FillOption
from acreg.cli.console import note, out


def warp(
    transforms: Annotated[
        list[Path],
        typer.Option(
            "--transform", help="Transform file; several are applied one after the other.", show_default=False
        ),
    ],
    reference: Annotated[Path, typer.Option(help="The fixed image: results lie on its grid.", show_default=False)],
    target: Annotated[
        Path, typer.Option("--out", help="File to write; its suffix gives the format.", show_default=False)
    ],
    image: Annotated[Path | None, typer.Option(help="Moving image to warp.", show_default=False)] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of the moving image to warp.", show_default=False)] = None,
    points: Annotated[
        Path | None, typer.Option(help="Points to move: .csv, .fcsv or .mrk.json.", show_default=False)
    ] = None,
    to: Annotated[
        Literal["fixed", "moving"] | None, typer.Option(help="Where points go; needed with --points.")
    ] = None,
    interpolation: Annotated[
        Literal["linear", "nearest"] | None,
        typer.Option(help="Of labels; linear, the default, takes the label with the largest weight."),
    ] = None,
    inverse: Annotated[
        bool,
        typer.Option("--inverse", help="Invert the transform: the reference is then the moving image."),
    ] = False,
    border: BorderOption = None,
    fill: FillOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Apply a transform to an image, to labels or to points.

    Transforms are ITK's (.h5, .tfm, .txt, the .mat of ANTs), displacement fields in mm (ANTs' 1Warp.nii.gz), and
    acreg's displacement.nii.gz. Several are given in the order in which a point of the fixed image goes through them,
    which is the order of antsApplyTransforms: the deformation, then the affine. The image is resampled once, linearly.

    Images are warped from the moving space onto the reference; those in colour keep their channels. Where the moving
    image does not reach, images have 0, as in SimpleITK, ANTs and 3D Slicer (of CT give --fill -1000), and alpha is
    transparent. Labels have the background 0 there.

    Points have a direction: --to moving takes points of the fixed image to the moving one, --to fixed takes points of
    the moving image to where the warped image shows them. They are in mm. A CSV has the columns x,y,z (x,y in 2-D) in
    LPS, as in ITK and ANTs; further columns are kept. The markups of 3D Slicer say themselves whether they are LPS or
    RAS.

    \b
    Examples:
      acreg warp --transform t.h5 --reference fixed.nii.gz --image moving.nii.gz --out warped.nii.gz
      acreg warp --transform 1Warp.nii.gz --transform 0GenericAffine.mat --reference fixed.nii.gz \\
        --labels moving_labels.nii.gz --out warped_labels.nii.gz
      acreg warp --transform t.h5 --reference fixed.nii.gz --points moving.mrk.json --to fixed --out warped.mrk.json
      acreg warp --transform t.h5 --reference fixed.nii.gz --image ct.nii.gz --fill -1000 --out warped.nii.gz
      acreg warp --transform t.h5 --inverse --reference moving.nii.gz --image fixed.nii.gz --out back.nii.gz
    """
    from acreg.registration.warping import WarpedPoints, check_target
    from acreg.registration.warping import warp as library

    check_target(target, points is not None, border, fill, overwrite)
    found = library(
        transforms,
        reference,
        image=image,
        labels=labels,
        points=points,
        to=to,
        interpolation=interpolation,
        inverse=inverse,
        border=border,
        fill=fill,
    )
    found.save(target, overwrite=overwrite)
    if isinstance(found, WarpedPoints):
        mean, largest = found.lengths.mean(), found.lengths.max()
        out(f"{target}: points moved: {len(found.moved)}, by {mean:.2f} mm on average, {largest:.2f} mm at most")
        return
    shape = " x ".join(map(str, found.image.grid.shape[::-1]))
    out(f"{target}: {shape} voxels, {100 * found.inside:.1f} % of which look inside of {found.source.name}")
    for text in found.notes:
        note(text)
