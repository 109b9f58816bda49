"""`acreg jacobian`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import out
from acreg.errors import UsageError


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
    from acreg.geometry import folding, jacobian_determinant
    from acreg.geometry.regularity import log_determinant
    from acreg.io import Image, read_image, write_image
    from acreg.io.files import ITK_WRITTEN, NIFTI, suffix
    from acreg.registration.warping import check_new, read_transforms

    if suffix(target) not in NIFTI + ITK_WRITTEN:
        raise UsageError(
            f"A map of determinants has fractions: it is written as {', '.join(NIFTI + ITK_WRITTEN)}. Received: --out "
            f"{target}. Choose one of these suffixes."
        )
    check_new(target, overwrite)
    grid = read_image(reference).grid
    displacement = read_transforms(transforms, grid, grid).displacement
    determinant = jacobian_determinant(displacement)
    write_image(Image(log_determinant(determinant) if log else determinant, grid), target)
    numbers = folding(displacement)
    out(f"determinant  mean {determinant.mean():.4f}, min {determinant.min():.4f}, max {determinant.max():.4f}")
    out(f"folded       {numbers['folded_percent']:.4f} %")
    out(f"NDV          {numbers['ndv_percent']:.4f} %")
    out(f"SDlogJ       {numbers['sd_log_j']:.4f}")
    out(f"Learn2Reg    {numbers['sd_log_j_learn2reg']:.4f}")
    out(str(target))
