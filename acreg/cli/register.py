"""`acreg register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import check_free, note, out, warn
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
) -> None:
    """Register a moving image onto a fixed image.

    Writes warped.png (or .nii.gz, as the moving file is), warped_labels.*, preview.png, transform.h5 (an ITK transform,
    in mm, which 3D Slicer, ITK-SNAP and ANTs open; what it does in SimpleITK is checked and recorded beside it) and
    displacement.nii.gz (voxels of the fixed grid, components in array-axis order); mask.* of models that segment.
    What speaks against the result (images that are less alike than before or hardly overlap, folds and so on) is
    printed as a warning and stands with the other numbers in registration.json.

    Refinement optimises the predicted field for this pair by the similarity of the images. That can make labels fit
    worse: the model's page says what it did to them.

    \b
    Examples:
      acreg register --model acregnet-jsrt --fixed a.png --moving b.png --out result
      acreg register --model acregnet-jsrt --fixed a.png --moving b.png --labels b_lungs.png --out result --refine 20
      acreg register --method ants:SyN --fixed a.nii.gz --moving b.nii.gz --out result --threads 4
    """
    import numpy as np

    from acreg.applications.registration import (
        RESULT_NAMES,
        Method,
        PresetMethod,
        Unregistered,
        named_method,
        register_pair,
        save_registration,
        write_record,
    )
    from acreg.data.records import some
    from acreg.io import read_image, read_labels
    from acreg.metrics import label_metrics, mean_over_labels

    if (model is None) == (method is None) or (refine and (method or model == Unregistered.name)):
        raise UsageError(
            "A pair is registered by a model, which can refine, or by a classical method. "
            f"Received: --model {model}, --method {method}, --refine {refine}. Give one of --model and --method."
        )
    if fixed_labels is not None and labels is None:
        raise UsageError(
            "Dice needs the labels of both images. Received: --fixed-labels without --labels. Add --labels."
        )
    check_free(folder, RESULT_NAMES, overwrite)
    fixed_image, moving_image = read_image(fixed), read_image(moving)
    moving_map = None if labels is None else read_labels(labels)
    fixed_map = None if fixed_labels is None else read_labels(fixed_labels)
    for image, labels_of in ((moving_image, moving_map), (fixed_image, fixed_map)):
        if labels_of is not None and labels_of.grid.shape != image.grid.shape:
            raise AcregError(
                f"Labels have the size of their image. Received: {labels_of.name} of {labels_of.grid.shape}, "
                f"{image.name} of {image.grid.shape}. Give the labels drawn on that image."
            )
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
    written = [write_record(folder, chosen, result)]
    written += save_registration(
        folder, result, fixed=fixed_image, moving=moving_image, moving_labels=moving_map, fixed_labels=fixed_map
    )
    out(
        f"{chosen.name}: {result.seconds:.2f} s (first call), "
        f"folded {result.regularity['folded_percent']:.3f} %, SDlogJ {result.regularity['sd_log_j']:.3f}"
    )
    out(f"NCC   before {result.before.ncc:.4f}   after {result.after.ncc:.4f}")
    if fixed_map is not None and moving_map is not None and result.warped_labels is not None:
        start = Unregistered().register(fixed=fixed_image, moving=moving_image)
        values = [int(v) for v in np.union1d(moving_map.array, fixed_map.array) if v > 0]
        dice = [
            mean_over_labels(label_metrics(image.array, fixed_map.array, values))["dsc"]
            for image in (start.warp_labels(moving_map), result.warped_labels)
        ]
        out(f"Dice  before {dice[0]:.4f}   after {dice[1]:.4f}")
    for path in written:
        out(str(path))
    for concern in result.concerns:
        warn(concern.text)
