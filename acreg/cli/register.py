"""`acreg register`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from acreg.baselines.tools import TOOLS
from acreg.cli._border import BorderOption, FillOption
from acreg.cli._browser import show
from acreg.cli.console import bars, hold, note, out, warn
from acreg.errors import UsageError
from acreg.optimisation.names import KINDS

if TYPE_CHECKING:
    from acreg.registration import Registration

_OF_EACH = {"acreg": KINDS, **{tool.name: tool.kinds for tool in TOOLS.values()}}
METHODS = ", ".join(["unregistered", *(f"{name}:{'|'.join(kinds)}" for name, kinds in _OF_EACH.items())]) + (
    "; some take options in brackets, as in sitk:demons[smoothing=1,affine=false], and an unknown option is answered "
    "with the list of valid ones"
)
"""The names of all methods that need no preset, for help texts."""


def _file(text: str) -> Any:
    return typer.Option(help=text, show_default=False)


def register(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)],
    fixed: Annotated[Path | None, _file("Fixed image, onto which to register.")] = None,
    moving: Annotated[Path | None, _file("Moving image, which is warped.")] = None,
    pairs: Annotated[
        Path | None,
        _file(
            "CSV file with the columns fixed and moving, and optionally labels, fixed_labels, fixed_mask, moving_mask, "
            "initial and out: instead of two images, the pairs to register."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name or folder of a preset.", show_default=False)] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"Method, instead of a model: {METHODS}. Default without a model: acreg:deformable.",
            show_default=False,
            metavar="TOOL:KIND",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for a classical method.", metavar="N")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the method.")] = 0,
    labels: Annotated[Path | None, _file("Label map of the moving image, warped with it.")] = None,
    fixed_labels: Annotated[Path | None, _file("Label map of the fixed image, to measure Dice.")] = None,
    guide_labels: Annotated[
        bool, typer.Option("--guide-labels", help="The two label maps also guide the registration (acreg: methods).")
    ] = False,
    fixed_mask: Annotated[
        Path | None, _file("Mask of the fixed image: what is 0 counts nothing. A model that takes a mask needs it.")
    ] = None,
    moving_mask: Annotated[Path | None, _file("Mask of the moving image, likewise.")] = None,
    fixed_points: Annotated[
        Path | None, _file("Landmarks of the fixed image, in the order of those of the moving image.")
    ] = None,
    moving_points: Annotated[Path | None, _file("Landmarks of the moving image: .csv, .fcsv or .mrk.json.")] = None,
    initial: Annotated[
        list[Path] | None,
        _file("Transform to start from, any that acreg warp reads; may be repeated to compose transforms."),
    ] = None,
    also: Annotated[
        list[Path] | None,
        _file("Further image or label map in the space of the moving image, warped with it; may be repeated."),
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
    slicer: Annotated[
        bool, typer.Option("--slicer", help="Also write scene.mrb, which 3D Slicer opens: images, labels, transform.")
    ] = False,
    border: BorderOption = None,
    fill: FillOption = None,
    view: Annotated[
        bool,
        typer.Option("--view", help="Also write view.html, see acreg view, and open it; for --pairs, only write it."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where --pairs are registered: in this process, or on Ray (needs the extra 'scale')."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster. Default: start one on this machine.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of Ray actors; each makes the method.")] = 1,
) -> None:
    """Register a moving image onto a fixed image, or the pairs of a list.

    Without a model and a method, the two images are registered by optimisation (acreg:deformable): any anatomy and
    contrast, 2-D and 3-D. It finds an affine map and then a deformation, and chooses the similarity that fits the two
    images; acreg:multimodal takes two contrasts for granted.

    Writes warped.png (if the moving file is a 2-D picture) or warped.nii.gz, warped_labels.*, preview.png, transform.h5
    (an ITK transform in mm, which 3D Slicer, ANTs and SimpleITK open; acreg checks its effect in SimpleITK and records
    the check beside it), inverse_transform.h5, which warps the fixed image onto the moving grid (an approximation where
    the transform folds), and displacement.nii.gz (in voxels of the fixed grid, components in the order z, y, x). Models
    that segment also write mask.*. result.json has the numbers and the verdict: ok, look at it, or failed. Its reasons,
    for example images that are less similar than before or hardly overlap, a transform that folds, or an image unlike
    those on which the preset was trained, are also reported as warnings. The exit code is 0 with every verdict.

    A colour image is registered by its luminance; warped.* keeps the colours of the moving image. Voxels of warped.*
    that lie outside the moving image are 0, as in SimpleITK, ANTs and 3D Slicer. For CT, give --fill -1000.

    The acreg: methods take guides: masks, landmarks and labels of both images, and a transform to start from. Files of
    --also are written as <name>_warped.*; whole numbers that form regions are moved as labels.

    --slicer also writes scene.mrb, which 3D Slicer opens: the fixed image, the moving image under the transform, the
    warped image, and the label maps as segmentations.

    --pairs writes a folder for each pair, registrations.csv with a row for each of them, and failures.csv, which lists
    the pairs that failed and why. To continue an interrupted run, run the same command again. Paths in the list are
    relative to its folder.

    Refinement optimises the predicted field for this pair by the similarity of the two images. It can make labels fit
    worse; the page of each model reports its measured effect on labels.

    \b
    Examples:
      acreg register --fixed a.nii.gz --moving b.nii.gz --out result
      acreg register --model acregnet-jsrt --fixed a.png --moving b.png --labels b_lungs.png --out result --refine 20
      acreg register --method acreg:rigid --fixed t1.nii.gz --moving t2.nii.gz --also t2_lesions.nii.gz --out result
      acreg register --method ants:SyN --fixed a.nii.gz --moving b.nii.gz --out result --threads 4
      acreg register --pairs pairs.csv --out results
    """
    shared: dict[str, Any] = {"model": model, "method": method, "guide_labels": guide_labels, "refine": refine}
    shared |= {"threads": threads, "seed": seed, "both_ways": both_ways or None}
    outside: dict[str, Any] = {"border": border, "fill": fill}
    one: dict[str, Any] = {"fixed": fixed, "moving": moving, "labels": labels, "fixed_labels": fixed_labels}
    one |= {"fixed_mask": fixed_mask, "moving_mask": moving_mask}
    one |= {"fixed_points": fixed_points, "moving_points": moving_points, "initial": initial, "also": also}
    given = {name: value for name, value in one.items() if value}
    many = {"engine": engine != "local", "address": address, "workers": workers != 1}
    if pairs is None:
        _check([name for name in ("fixed", "moving") if name not in given], many, pairs=False)
        _register_one(folder, given, shared, outside, [*["view"] * view, *["slicer"] * slicer], overwrite)
        return
    _check([], {**given, "overwrite": overwrite}, pairs=True)
    from acreg.applications.batch.pairs import register_pairs
    from acreg.cli._batch import say_done

    with bars() as progress:
        ray: dict[str, Any] = {"engine": engine, "address": address, "workers": workers}
        further: dict[str, Any] = {"view": view, "slicer": slicer}
        found = register_pairs(pairs, folder, **shared, **outside, **further, **ray, progress=progress, say=note)
    say_done(found)


def _check(missing: Sequence[str], wrong: dict[str, Any], pairs: bool) -> None:
    """Raise `UsageError` for options that are missing, and for options of the other use of the command."""
    if missing:
        raise UsageError(
            "Two images are registered, or the pairs of a list. Received: no "
            f"{' and no '.join(f'--{name}' for name in missing)}. Give --fixed and --moving, or --pairs."
        )
    found = [f"--{name.replace('_', '-')}" for name, value in wrong.items() if value]
    if not found:
        return
    if pairs:
        raise UsageError(
            f"The files of pairs are named in their list, and a run is continued. Received: {', '.join(found)} with "
            "--pairs. Leave it out, or use the columns of the list."
        )
    raise UsageError(
        f"These options say where the pairs of a list are registered. Received: {', '.join(found)} without --pairs. "
        "Leave it out, or give --pairs."
    )


def _register_one(
    folder: Path,
    images: dict[str, Any],
    shared: dict[str, Any],
    outside: dict[str, Any],
    further: Sequence[str],
    overwrite: bool,
) -> None:
    """Register one pair, save the results and those of `further`, and print what came of it."""
    from acreg.io import check_free
    from acreg.registration import register as register_images
    from acreg.registration.background import border_and_fill
    from acreg.registration.further import check_further, given_names
    from acreg.registration.methods import check_one_method
    from acreg.registration.pair import SAVED
    from acreg.registration.saving import RESULT_NAMES, result_name
    from acreg.registration.views import VIEW_NAME

    if shared["model"] is not None or shared["method"] is not None:
        check_one_method(shared["model"], shared["method"], shared["refine"])
    border_and_fill(**outside, target=Path(result_name("warped", str(images["moving"]), 2)))
    check_further(images.get("also", ()))
    hold(folder)
    check_free(folder, [*RESULT_NAMES, *given_names(images.get("also", ()))], overwrite)
    result = register_images(**images, **shared, say=note)
    written = result.save(folder, what=[*SAVED, *further], **outside, overwrite=overwrite)
    for text in result.notes:
        note(text)
    _tell(result)
    for path in written:
        out(str(path))
    names = ", ".join(concern.name for concern in result.concerns)
    if result.verdict is not None:
        out(f"Verdict: {result.verdict}" + (f" ({names})" if names else ""))
    for concern in result.concerns:
        warn(concern.text)
    if "view" in further:
        show(folder / VIEW_NAME)


def _tell(result: Registration) -> None:
    """Print what was done, and the measures."""
    from acreg.metrics import is_lost, mean_over_labels
    from acreg.names import some
    from acreg.registration.display import stage_lines

    out(
        f"{result.method}: {result.seconds:.2f} s (first call), "
        f"folded {result.regularity['folded_percent']:.3f} %, SDlogJ {result.regularity['sd_log_j']:.3f}"
    )
    for line in stage_lines(result):
        out(line)
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
