"""`acreg jacobian`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import out


def jacobian(
    transforms: Annotated[
        list[Path],
        typer.Option("--transform", help="Transform file; may be repeated to compose transforms.", show_default=False),
    ],
    reference: Annotated[Path, typer.Option(help="Fixed image, whose grid the map is sampled on.", show_default=False)],
    target: Annotated[
        Path, typer.Option("--out", help="Map to write: .nii.gz, .nrrd, .mha or .h5.", show_default=False)
    ],
    log: Annotated[
        bool, typer.Option("--log", help="Write the natural logarithm of the determinant, clipped at log(1e-9).")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write the Jacobian determinant and report folding.

    The Jacobian determinant of a transform is the local change of volume from the fixed image to the moving image. It
    does not depend on the spacing. A value of 1 means no change; below 1, the structure is smaller in the moving image;
    at 0 or below, the transform folds. The command prints the mean and range of the determinant and

    \b
      folded      share of voxels whose determinant is 0 or less (central differences)
      NDV         non-diffeomorphic volume, which includes folds that central differences miss (Liu et al., IJCV 2024)
      SDlogJ      standard deviation of the logarithm of the determinant
      Learn2Reg   SDlogJ as the Learn2Reg challenges compute it: of log(determinant + 3), without a border of 2 voxels

    Transforms are given as for `acreg warp`.

    \b
    Examples:
      acreg jacobian --transform t.h5 --reference fixed.nii.gz --out jacobian.nii.gz
      acreg jacobian --transform 1Warp.nii.gz --reference fixed.nii.gz --out log_jacobian.nii.gz --log
    """
    from acreg.registration.determinants import check_map_file
    from acreg.registration.determinants import jacobian as library

    check_map_file(target, overwrite)
    found = library(transforms, reference, log=log)
    found.save(target, overwrite=overwrite)
    for name, text in found.rows:
        out(f"{name:12} {text}")
    out(str(target))
