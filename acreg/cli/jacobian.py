"""`acreg jacobian`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import out


def jacobian(
    transforms: Annotated[
        list[Path],
        typer.Option(
            "--transform", help="Transform file; several are applied one after the other.", show_default=False
        ),
    ],
    reference: Annotated[Path, typer.Option(help="The fixed image: the map lies on its grid.", show_default=False)],
    target: Annotated[Path, typer.Option("--out", help="Map to write, .nii.gz, .nrrd or .mha.", show_default=False)],
    log: Annotated[bool, typer.Option("--log", help="Write its natural logarithm, at least log(1e-9).")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write the Jacobian determinant of a transform, and say how much it folds.

    The determinant is the local change of volume from the fixed image to the moving one, whatever the spacing: 1 is
    none, below 1 the moving image is the smaller, at 0 or less the transform folds. Printed are its mean and range, and

    \b
      folded      share of voxels whose determinant is 0 or less (central differences)
      NDV         non-diffeomorphic volume, which sees the folds that central differences miss (Liu et al., IJCV 2024)
      SDlogJ      standard deviation of the determinant's logarithm
      Learn2Reg   the same as the Learn2Reg challenges compute it: of log(determinant + 3), without two voxels of border

    Transforms are given as to `acreg warp`.

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
