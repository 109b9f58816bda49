"""`acreg warp`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from acreg.cli._border import BorderOption, FillOption, border_and_fill, note_background
from acreg.cli.console import note, out
from acreg.errors import UsageError


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
    import numpy as np

    from acreg.io import Points, check_free, read_image, read_labels, read_points, write_image, write_points
    from acreg.io.colour import read_channels, warp_channels, write_channels
    from acreg.io.formats import writer
    from acreg.io.points.formats import check_points_format
    from acreg.names import some
    from acreg.registration.warping import read_transforms

    options = (("--image", image), ("--labels", labels), ("--points", points))
    given = [(option, path) for option, path in options if path is not None]
    if len(given) != 1:
        raise UsageError(
            "One thing is warped at a time. Received: "
            f"{' and '.join(option for option, _ in given) or 'nothing to warp'}. Give one of --image, --labels and "
            "--points."
        )
    option, path = given[0]
    if (to is None) == (points is not None):
        raise UsageError(
            f"Points have a direction, images have none. Received: {option} "
            f"{'without --to' if to is None else f'with --to {to}'}. Say with --points whether they go --to fixed or "
            "--to moving."
        )
    if inverse and points is not None:
        raise UsageError("Points are taken either way by --to. Received: --points with --inverse. Leave out --inverse.")
    if interpolation is not None and labels is None:
        raise UsageError(
            f"Interpolation is chosen for labels; images are warped linearly. Received: {option} with "
            f"--interpolation {interpolation}. Leave it out, or give --labels."
        )
    if (border, fill) != (None, None) and image is None:
        raise UsageError(
            f"What lies outside is chosen for images; labels have the background 0 there. Received: {option} with "
            f"{'--border' if border else '--fill'}. Leave it out, or give --image."
        )
    outside = border_and_fill(border, fill, target)
    if points is not None:
        check_points_format(target)
    else:
        writer(target)
    check_free(target, overwrite=overwrite)
    grid = read_image(reference).grid

    if to is not None:
        found = read_points(path, grid.rank)
        moved = read_transforms(transforms, grid, grid).warp_points(found.positions, to)
        write_points(Points(moved, found.names, found.source), target)
        out(f"{target}: points moved: {len(moved)}, by {_lengths(moved - found.positions)}")
        return

    channels = read_channels(path) if labels is None else [read_labels(path)]
    source = channels[0]
    if inverse:
        transform = read_transforms(transforms, source.grid, grid).sampled_inverse()
        note(f"The inverse misses by {transform.residual:.2g} voxels at most.")
    else:
        transform = read_transforms(transforms, grid, source.grid)
    if labels is not None:
        warped = transform.warp_labels(source, interpolation or "linear")
        write_image(warped, target)
    else:
        several = warp_channels(channels, transform, *outside)
        warped = several[0]
        if len(several) > 1:
            write_channels(several, target)
        else:
            write_image(warped, target)
    shape = " x ".join(map(str, warped.grid.shape[::-1]))
    inside = float(transform.inside(source.grid).mean())
    out(f"{target}: {shape} voxels, {100 * inside:.1f} % of which look inside of {source.name}")
    if labels is None:
        note_background(source, outside[0], fill, lambda: inside)
    lost = [] if labels is None else np.setdiff1d(source.array, warped.array).tolist()
    if lost:
        note(f"Vanished, without a voxel in the warped labels: {some((f'label {value}' for value in lost), 20)}")
    if inside == 0:
        note("Nothing of it is seen: do the transform and its direction belong to these two images?")


def _lengths(vectors: Any) -> str:
    """Mean and largest length of vectors `(n, rank)`."""
    lengths = (vectors**2).sum(axis=1) ** 0.5
    return f"{lengths.mean():.2f} mm on average, {lengths.max():.2f} mm at most"
