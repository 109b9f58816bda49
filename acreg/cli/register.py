"""`acreg register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.baselines.tools import TOOLS
from acreg.cli._border import BorderOption, FillOption
from acreg.cli.console import hold, note, out, warn

METHODS = ", ".join(["unregistered", *(f"{tool.name}:{'|'.join(tool.kinds)}" for tool in TOOLS.values())]) + (
    "; some take options in brackets, as in sitk:demons[smoothing=1,affine=false], and an unknown option is answered "
    "with the list of valid ones"
)
"""The names of all methods that need no preset, for help texts."""


def register(
    fixed: Annotated[Path, typer.Option(help="Fixed image, onto which to register.", show_default=False)],
    moving: Annotated[Path, typer.Option(help="Moving image, which is warped.", show_default=False)],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Name or folder of a preset.", show_default=False)] = None,
    method: Annotated[
        str | None,
        typer.Option(help=f"Classical method, instead of a model: {METHODS}.", show_default=False, metavar="TOOL:KIND"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for a classical method.", metavar="N")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of a classical method.")] = 0,
    labels: Annotated[
        Path | None, typer.Option(help="Label map of the moving image, warped with it.", show_default=False)
    ] = None,
    fixed_labels: Annotated[
        Path | None, typer.Option(help="Label map of the fixed image, to measure Dice.", show_default=False)
    ] = None,
    refine: Annotated[
        int,
        typer.Option(
            min=0, help="Maximum number of refinement steps for this pair; 0 means no refinement.", metavar="STEPS"
        ),
    ] = 0,
    both_ways: Annotated[
        bool,
        typer.Option(
            "--both-ways",
            help="Also register from moving to fixed, to measure the inverse consistency. Takes twice the time; models "
            "always do it unless they refine.",
        ),
    ] = False,
    border: BorderOption = None,
    fill: FillOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Register a moving image onto a fixed image.

    Writes warped.png (if the moving file is a 2-D picture) or warped.nii.gz, warped_labels.*, preview.png, transform.h5
    (an ITK transform in mm, which 3D Slicer, ANTs and SimpleITK open; acreg checks its effect in SimpleITK and records
    the check beside it), inverse_transform.h5, which warps the fixed image onto the moving grid (an approximation where
    the transform folds), and displacement.nii.gz (in voxels of the fixed grid, components in the order z, y, x). Models
    that segment also write mask.*. result.json has the numbers and the verdict: ok, look at it, or failed. Its reasons,
    for example images that are less similar than before or hardly overlap, a transform that folds, or an image unlike
    those on which the preset was trained, are also reported as warnings. The exit code is 0 with every verdict.

    A colour image is registered by its luminance; warped.* keeps the colours of the moving image. Voxels of warped.*
    that lie outside the moving image are 0, as in SimpleITK, ANTs and 3D Slicer. For CT, give --fill -1000.

    Refinement optimises the predicted field for this pair by the similarity of the two images. It can make labels fit
    worse; the page of each model reports its measured effect on labels.

    \b
    Examples:
      acreg register --model acregnet-jsrt --fixed a.png --moving b.png --out result
      acreg register --model acregnet-jsrt --fixed a.png --moving b.png --labels b_lungs.png --out result --refine 20
      acreg register --method ants:SyN --fixed a.nii.gz --moving b.nii.gz --out result --threads 4
    """
    from acreg.io import check_free
    from acreg.metrics import is_lost, mean_over_labels
    from acreg.names import some
    from acreg.registration import register as register_images
    from acreg.registration.background import border_and_fill
    from acreg.registration.methods import check_one_method
    from acreg.registration.saving import RESULT_NAMES, result_name

    check_one_method(model, method, refine)
    border_and_fill(border, fill, Path(result_name("warped", str(moving), 2)))
    hold(folder)
    check_free(folder, RESULT_NAMES, overwrite)
    result = register_images(
        fixed=fixed,
        moving=moving,
        model=model,
        method=method,
        labels=labels,
        fixed_labels=fixed_labels,
        refine=refine,
        threads=threads,
        seed=seed,
        both_ways=both_ways or None,
    )
    written = result.save(folder, border=border, fill=fill, overwrite=overwrite)
    for text in result.notes:
        note(text)
    out(
        f"{result.method}: {result.seconds:.2f} s (first call), "
        f"folded {result.regularity['folded_percent']:.3f} %, SDlogJ {result.regularity['sd_log_j']:.3f}"
    )
    out(f"NCC   before {result.before.ncc:.4f}   after {result.after.ncc:.4f}")
    if result.scores_after:
        before, after = (mean_over_labels(scores) for scores in (result.scores_before, result.scores_after))
        counted = f"(mean over {int(after['labels'])} labels)"
        out(f"Dice  before {before['dsc']:.4f}   after {after['dsc']:.4f}   {counted}")
        alone = [f"label {value}" for value, scores in result.scores_after.items() if is_lost(scores)]
        if alone:
            out(f"Dice 0, in one of the two maps alone: {some(alone, 20)}")
    if result.vanished:
        out(f"Vanished, without a voxel in the warped labels: {some((f'label {v}' for v in result.vanished), 20)}")
    if result.inverse_error is not None:
        out(f"Inverse consistency: {result.inverse_error}")
    for path in written:
        out(str(path))
    names = ", ".join(concern.name for concern in result.concerns)
    if result.verdict is not None:
        out(f"Verdict: {result.verdict}" + (f" ({names})" if names else ""))
    for concern in result.concerns:
        warn(concern.text)
