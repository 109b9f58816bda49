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
    from acreg.geometry import folding, jacobian_determinant
    from acreg.geometry.regularity import log_determinant
    from acreg.io import Image, check_free, read_image, write_image
    from acreg.io.formats import FORMATS, suffix
    from acreg.registration.warping import read_transforms

    possible = [ending for known in FORMATS if not known.picture for ending in known.written]
    if suffix(target) not in possible:
        raise UsageError(
            f"A map of determinants has fractions: it is written as {', '.join(possible)}. Received: --out {target}. "
            "Choose one of these suffixes."
        )
    check_free(target, overwrite=overwrite)
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
