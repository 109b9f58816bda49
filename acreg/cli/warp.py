"""`acreg warp`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from acreg.cli._border import BorderOption, FillOption
from acreg.cli.console import note, out


def warp(
    transforms: Annotated[
        list[Path],
        typer.Option("--transform", help="Transform file; may be repeated to compose transforms.", show_default=False),
    ],
    reference: Annotated[
        Path, typer.Option(help="Fixed image, whose grid the results are sampled on.", show_default=False)
    ],
    target: Annotated[
        Path, typer.Option("--out", help="File to write; its suffix sets the format.", show_default=False)
    ],
    image: Annotated[Path | None, typer.Option(help="Moving image to warp.", show_default=False)] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label map of the moving image to warp.", show_default=False)
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Points to move: .csv, .fcsv or .mrk.json.", show_default=False)
    ] = None,
    to: Annotated[
        Literal["fixed", "moving"] | None,
        typer.Option(help="The image into whose space points are moved; required with --points."),
    ] = None,
    interpolation: Annotated[
        Literal["linear", "nearest"] | None,
        typer.Option(
            help="Interpolation of labels; linear, the default, takes the label with the largest linear weight."
        ),
    ] = None,
    inverse: Annotated[
        bool,
        typer.Option("--inverse", help="Apply the inverse transform; --reference is then the moving image."),
    ] = False,
    border: BorderOption = None,
    fill: FillOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Apply a transform to an image, to labels or to points.

    Transforms are ITK transforms (.h5, .tfm, .txt, the .mat of ANTs), displacement fields in mm (1Warp.nii.gz of ANTs)
    and displacement.nii.gz of acreg. Several transforms are given in the order in which they act on a point of the
    fixed image, which is the order of antsApplyTransforms: first the deformation, then the affine. The image is
    resampled once, with linear interpolation.

    Images are warped from the moving space onto the grid of the reference; colour images keep their channels. Voxels
    that lie outside the moving image are 0, as in SimpleITK, ANTs and 3D Slicer, and transparent in an alpha channel.
    For CT, give --fill -1000. Labels are 0, the background, there.

    Points have a direction: --to moving maps points of the fixed image to the moving image; --to fixed maps points of
    the moving image to where the warped image shows them. Coordinates are in mm. A CSV file has the columns x,y,z (x,y
    in 2-D) in LPS, as in ITK and ANTs; other columns are kept. The markup files of 3D Slicer state whether they are in
    LPS or RAS.

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
    what: dict[str, Any] = {"image": image, "labels": labels, "points": points, "to": to}
    outside: dict[str, Any] = {"border": border, "fill": fill}
    found = library(transforms, reference, **what, **outside, interpolation=interpolation, inverse=inverse)
    found.save(target, overwrite=overwrite)
    if isinstance(found, WarpedPoints):
        mean, largest = found.lengths.mean(), found.lengths.max()
        out(f"{target}: points moved: {len(found.moved)}, by {mean:.2f} mm on average, {largest:.2f} mm at most")
        return
    shape = " x ".join(map(str, found.image.grid.shape[::-1]))
    out(f"{target}: {shape} voxels, {100 * found.inside:.1f} % of which look inside of {found.source.name}")
    for text in found.notes:
        note(text)
