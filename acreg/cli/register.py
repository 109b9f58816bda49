"""`acreg register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.baselines.tools import TOOLS
from acreg.cli._border import BorderOption, FillOption, border_and_fill, note_background
from acreg.cli.console import hold, note, out, warn
from acreg.errors import AcregError, UsageError

METHODS = ", ".join(["unregistered", *(f"{tool.name}:{'|'.join(tool.kinds)}" for tool in TOOLS.values())]) + (
    "; some take options in brackets, as in sitk:demons[smoothing=1,affine=false], and an unknown option is answered "
    "with the list of valid ones"
)
"""The names of all methods that need no preset, for help texts."""


def check_one(model: str | None, method: str | None) -> None:
    """Raise `UsageError` unless either --model or --method was given."""
    if (model is None) == (method is None):
        raise UsageError(
            "Images are registered by a model or by another method. Received: "
            f"--model {model}, --method {method}. Give one of --model and --method."
        )


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
    border: BorderOption = None,
    fill: FillOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Register a moving image onto a fixed image.

    Writes warped.png or warped.nii.gz (in the format of the moving file), warped_labels.*, preview.png, transform.h5
    (an ITK transform in mm, which 3D Slicer, ANTs and SimpleITK open; acreg checks its effect in SimpleITK and records
    the check beside it), inverse_transform.h5, which warps the fixed image onto the moving grid (an approximation where
    the transform folds), and displacement.nii.gz (in voxels of the fixed grid, components in the order z, y, x). Models
    that segment also write mask.*. A doubtful result, for example images that are less similar than before or hardly
    overlap, or a transform that folds, is reported as a warning and recorded in registration.json with the other
    numbers.

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
    import numpy as np

    from acreg._moved import warn_of_old_name
    from acreg.io import Image, check_free, read_image, read_labelled
    from acreg.io.colour import read_channels, reason_against
    from acreg.metrics import is_lost, label_metrics, mean_over_labels
    from acreg.names import some
    from acreg.registration.methods import Method, PresetMethod, Unregistered, named_method
    from acreg.registration.pair import register_pair
    from acreg.registration.saving import RESULT_NAMES, result_name, save_registration

    check_one(model, method)
    if model == Unregistered.name:
        warn_of_old_name("--model unregistered", "--method unregistered")
        model, method = None, model
    if refine and method:
        raise UsageError(
            f"Models alone refine. Received: --refine {refine} with --method {method}. Leave out --refine, or give a "
            "preset."
        )
    if fixed_labels is not None and labels is None:
        raise UsageError(
            "Dice needs the labels of both images. Received: --fixed-labels without --labels. Add --labels."
        )
    outside = border_and_fill(border, fill, Path(result_name("warped", str(moving), 2)))
    hold(folder)
    check_free(folder, RESULT_NAMES, overwrite)
    channels = read_channels(moving)
    fixed_map: Image | None = None
    moving_map: Image | None = None
    if fixed_labels is None:
        fixed_image = read_image(fixed)
    else:
        fixed_image, fixed_map = read_labelled(fixed, fixed_labels)
    if labels is not None:
        moving_image, moving_map = read_labelled(moving, labels)
    else:
        moving_image = channels[0] if len(channels) == 1 else read_image(moving)
    if fixed_map is not None and moving_map is not None:
        sets = [set(np.unique(each.array).tolist()) - {0} for each in (moving_map, fixed_map)]
        if not set.intersection(*sets):
            listed = [some(map(str, sorted(values))) or "background alone" for values in sets]
            raise AcregError(
                "Dice compares labels of the same value. Received: --labels with "
                f"{listed[0]}, --fixed-labels with {listed[1]}. Give label maps of one scheme, or leave --fixed-labels."
            )
    if fixed.samefile(moving):
        warn("--fixed and --moving are one file: nothing needs to be moved.")
    elif labels is not None and fixed_labels is not None and labels.samefile(fixed_labels):
        warn("--labels and --fixed-labels are one file, of two images: Dice says nothing.")
    chosen: Method
    if method is not None:
        chosen = named_method(method, threads, seed)
    else:
        chosen = PresetMethod(str(model), refine=refine)
    if (method is None or isinstance(chosen, Unregistered)) and (threads != 1 or seed):
        note(f"--threads and --seed are for classical methods: {chosen.name} does not use them.")
    result = register_pair(chosen, fixed=fixed_image, moving=moving_image, moving_labels=moving_map)
    written = save_registration(
        folder,
        result,
        fixed=fixed_image,
        moving=moving_image,
        moving_labels=moving_map,
        fixed_labels=fixed_map,
        border=outside[0],
        fill=outside[1],
        channels=channels,
        method=chosen.name,
        overwrite=overwrite,
    )
    target = Path(result_name("warped", str(moving), moving_image.grid.rank))
    if len(channels) > 1 and (reason := reason_against(channels, target)):
        note(f"{target} has the luminance of {moving} alone. {reason} acreg warp --out x.nrrd keeps the colours.")
    if result.inexact:
        note(f"inverse_transform.h5 is an approximation: {result.inexact}.")
    if result.no_inverse:
        note(f"No inverse was written. {result.no_inverse}")
    note_background(moving_image, outside[0], fill, lambda: float(result.inside.mean()))
    out(
        f"{chosen.name}: {result.seconds:.2f} s (first call), "
        f"folded {result.regularity['folded_percent']:.3f} %, SDlogJ {result.regularity['sd_log_j']:.3f}"
    )
    out(f"NCC   before {result.before.ncc:.4f}   after {result.after.ncc:.4f}")
    if fixed_map is not None and moving_map is not None and result.warped_labels is not None:
        start = Unregistered().register(fixed=fixed_image, moving=moving_image)
        values = [int(v) for v in np.union1d(moving_map.array, fixed_map.array) if v != 0]
        found = [
            label_metrics(image.array, fixed_map.array, values)
            for image in (start.warp_labels(moving_map), result.warped_labels)
        ]
        dice = [mean_over_labels(each) for each in found]
        counted = f"(mean over {int(dice[1]['labels'])} labels)"
        out(f"Dice  before {dice[0]['dsc']:.4f}   after {dice[1]['dsc']:.4f}   {counted}")
        alone = [f"label {value}" for value, scores in found[1].items() if is_lost(scores)]
        if alone:
            out(f"Dice 0, in one of the two maps alone: {some(alone, 20)}")
    if moving_map is not None and result.warped_labels is not None:
        lost = np.setdiff1d(moving_map.array, result.warped_labels.array)
        if lost.size:
            out(f"Vanished, without a voxel in the warped labels: {some((f'label {v}' for v in lost), 20)}")
    for path in written:
        out(str(path))
    for concern in result.concerns:
        warn(concern.text)
