"""`acreg register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli._border import BorderOption, FillOption, border_and_fill, note_background
from acreg.cli.console import check_free, hold, note, out, warn
from acreg.errors import AcregError, UsageError

METHODS = (
    "identity, ants:affine|SyN|SyNCC|SyNOnly, sitk:affine|demons|diffeomorphic-demons|symmetric-demons|bspline, "
    "elastix:affine|bspline|acregnet|jrsnet, greedy:affine|deformable|svf; some take options in brackets, as in "
    "sitk:demons[smoothing=1,affine=false], and a wrong one is answered with those that there are"
)
"""The names of `acreg.baselines`, written out so that --help imports nothing."""


def register(
    fixed: Annotated[Path, typer.Option(help="Image to register onto.", show_default=False)],
    moving: Annotated[Path, typer.Option(help="Image to be moved.", show_default=False)],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Preset name or folder.", show_default=False)] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"In place of a model a classical method: {METHODS}.", show_default=False, metavar="TOOL:KIND"
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a classical method.", metavar="N")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a classical method's samples.")] = 0,
    labels: Annotated[
        Path | None, typer.Option(help="Labels of the moving image, moved along.", show_default=False)
    ] = None,
    fixed_labels: Annotated[
        Path | None, typer.Option(help="Labels of the fixed image, to measure Dice.", show_default=False)
    ] = None,
    refine: Annotated[
        int, typer.Option(min=0, help="Steps of refinement for this pair, at most; 0 is none.", metavar="STEPS")
    ] = 0,
    border: BorderOption = None,
    fill: FillOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
) -> None:
    """Register a moving image onto a fixed image.

    Writes warped.png (or .nii.gz, as the moving file is), warped_labels.*, preview.png, transform.h5 (an ITK transform,
    in mm, which 3D Slicer, ANTs and SimpleITK open; what it does in SimpleITK is checked and recorded beside it),
    inverse_transform.h5, which takes the fixed image onto the moving grid (an approximation where the transform folds),
    and displacement.nii.gz (voxels of the fixed grid, components along z, y, x); mask.* of models that segment.
    A doubtful result (images that are less similar than before or hardly overlap, folds and so on) is reported as a
    warning, and in registration.json beside the other numbers.

    A moving image in colour is seen as luminance, and warped.* has its colours. Where the moving image does not reach,
    warped.* has 0, as in SimpleITK, ANTs and 3D Slicer: of CT give --fill -1000.

    Refinement optimises the predicted field for this pair by the similarity of the images. That can make labels fit
    worse: the model's page says what it did to them.

    \b
    Examples:
      acreg register --model acregnet-jsrt --fixed a.png --moving b.png --out result
      acreg register --model acregnet-jsrt --fixed a.png --moving b.png --labels b_lungs.png --out result --refine 20
      acreg register --method ants:SyN --fixed a.nii.gz --moving b.nii.gz --out result --threads 4
    """
    import numpy as np

    from acreg.data.records import some
    from acreg.io import Image, read_image, read_labelled
    from acreg.io.colour import read_channels, reason_against
    from acreg.metrics import is_lost, label_metrics, mean_over_labels
    from acreg.registration.methods import Method, PresetMethod, Unregistered, named_method
    from acreg.registration.pair import register_pair
    from acreg.registration.saving import RESULT_NAMES, result_name, save_registration

    if (model is None) == (method is None):
        raise UsageError(
            f"A pair is registered by a model or by a classical method. Received: --model {model}, --method {method}. "
            "Give one of --model and --method."
        )
    if refine and (method or model == Unregistered.name):
        raise UsageError(
            f"Models alone refine. Received: --refine {refine} with "
            f"{f'--method {method}' if method else f'--model {model}'}. Leave out --refine, or give a preset."
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
    if method is None and (threads != 1 or seed):
        note("--threads and --seed are for classical methods: a model does not use them.")
    chosen: Method
    if method is not None:
        chosen = named_method(method, threads, seed)
    elif model is None or model == Unregistered.name:
        chosen = Unregistered()
    else:
        chosen = PresetMethod(model, refine=refine)
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
