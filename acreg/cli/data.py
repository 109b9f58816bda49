"""``acreg data``: prepare a dataset, check one, make pairs from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acreg.cli.console import bars, note, out, table
from acreg.errors import AcregError, UsageError

if TYPE_CHECKING:
    from acreg.data.manifest import Dataset
    from acreg.data.volume_steps import Steps

app = typer.Typer(no_args_is_help=True, help="Prepare and check datasets, make pairs.")


@app.command("prepare")
def prepare(
    dataset: Annotated[str, typer.Argument(help="jsrt, montgomery, shenzhen, or folder (your own images).")],
    source: Annotated[Path, typer.Option("--source", help="Folder that holds the dataset.", show_default=False)],
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; for `folder` the source itself if left out.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", help="Side of the images in pixels, 256 if left out. `folder`, aligned: voxels, such as 16,64,64."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the validation part, or of the split without lists.")] = 0,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="Subject that original Montgomery or Shenzhen images are registered to."),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option("--spacing", help="For `folder`: new spacing in mm, such as 1, or 3,1,1 for (z, y, x)."),
    ] = None,
    merge: Annotated[
        str | None,
        typer.Option("--merge", help="For `folder`: CSV with the columns label,merged,name, or dlmuse-16."),
    ] = None,
    crop: Annotated[
        int | None, typer.Option("--crop", help="For `folder`: label (after merging) to crop around.")
    ] = None,
    margin: Annotated[float, typer.Option("--margin", help="Around the cropped label, in mm.")] = 0.0,
    align: Annotated[
        str | None,
        typer.Option("--align", help="For `folder`: subject to align all others to by their labels, or auto."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="Processes.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of other settings in --out.")] = False,
) -> None:
    """Prepare a dataset for training and evaluation.

    The source of jsrt, montgomery and shenzhen is the public AC-RegNet repository (its root, its folder data, or the
    dataset's folder in it) or the original files of the dataset's owner. The published test list is kept; a quarter of
    the training list becomes validation. An interrupted command is continued by the same command.

    `folder` writes a manifest.csv for DIR/images and DIR/labels, whose files have the same names. With --spacing,
    --merge, --crop or --align it writes copies into --out instead, as HDF5: resampled (images by cubic splines, labels
    by the nearest voxel), with merged labels, cropped or aligned. Subjects and splits are those of DIR/manifest.csv if
    there is one.

    --align turns and shifts each subject, without scaling, so that its labels lie on those of the subject that is named
    (auto: the one most like the others). All copies then lie on one grid, in that subject's space, of --size voxels
    around its labels. OUT/transforms/SUBJECT.tfm takes points of it to the subject's own space, so that acreg warp
    --inverse with it carries results back; OUT/alignment.csv says how well the labels fit.

    \b
    Examples:
      acreg data prepare jsrt --source ACRN_Chest_X-ray_IA --out datasets/jsrt
      acreg data prepare montgomery --source MontgomerySet --out datasets/montgomery --jobs 4
      acreg data prepare folder --source my_scans
      acreg data prepare folder --source ixi --out datasets/ixi --spacing 1 --merge dlmuse-16 --jobs 4
      acreg data prepare folder --source hearts --out datasets/hearts --align auto --size 16,64,64 --spacing 8,1.5,1.5
    """

    with bars() as update:
        copies = any(option is not None for option in (spacing, merge, crop, align))
        if dataset == "folder":
            alone = not copies and (jobs != 1 or force or margin)
            if (size is not None and align is None) or reference is not None or alone:
                raise UsageError(
                    "`folder` writes a manifest and leaves the images as they are, or copies by --spacing, --merge, "
                    "--crop and --align. Received: --reference, --size without --align, or --jobs, --force or --margin "
                    "without copies. Leave these out."
                )
            if copies:
                from acreg.data.prepare_volumes import prepare_volumes

                if out_folder is None:
                    raise UsageError(
                        "Copies need a folder. Received: no --out with --spacing, --merge, --crop or --align. Add "
                        "--out DIR."
                    )
                steps = _steps(spacing, merge, crop, margin, align, size)
                prepared = prepare_volumes(source, out_folder, steps, seed, jobs, force, update)
            else:
                from acreg.data.datasets.folder import prepare_folder

                prepared = prepare_folder(source, out_folder, seed=seed, progress=update)
        else:
            from acreg.data import prepare as library
            from acreg.data.datasets import get_dataset

            get_dataset(dataset)
            if copies or margin:
                raise UsageError(
                    "--spacing, --merge, --crop, --margin and --align are for `folder`. Received: one of them for "
                    f"{dataset}. Leave it out, or prepare your own copy of the images by `folder`."
                )
            if out_folder is None:
                raise UsageError(f"A prepared dataset needs a folder. Received: no --out for {dataset}. Add --out DIR.")
            prepared = library.prepare(
                dataset,
                source,
                out_folder,
                size=256 if size is None else _whole(size),
                seed=seed,
                reference=reference,
                jobs=jobs,
                force=force,
                progress=update,
            )
    _describe(prepared)
    centred = prepared.preparation.get("centred_only", [])
    if centred:
        out(f"  centred only, because their registration was not plausible: {', '.join(centred)}")
    alignment = prepared.preparation.get("alignment")
    if alignment:
        out(f"  aligned to {alignment['reference']}: mean Dice with it {alignment['mean_dice']}; see alignment.csv")
        if alignment["at_edge"]:
            note(
                f"Labels of {', '.join(alignment['at_edge'])} reach the edge and may be cut off: give a larger --size."
            )
    if prepared.preparation.get("skipped"):
        note(f"{prepared.preparation['skipped']} images without labels or in no list were left out.")
    note(f"Next: acreg data check {prepared.folder}")


def _describe(dataset: Dataset) -> None:
    from acreg.data.manifest import SPLITS

    counts = ", ".join(f"{len(dataset.split(name))} {name}" for name in SPLITS)
    labels = ", ".join(f"{value} {name}" for value, name in dataset.label_names.items())
    spacing = "in the files" if dataset.spacing is None else " x ".join(f"{s:.4g}" for s in dataset.spacing)
    out(f"{dataset.name}: {len(dataset.records)} subjects ({counts}) in {dataset.folder}")
    out(f"  labels {labels}; spacing {spacing} {dataset.unit}")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"A size is a whole number of voxels. Received: --size {text}. Give for example 256."
        ) from None


def _steps(
    spacing: str | None, merge: str | None, crop: int | None, margin: float, align: str | None, size: str | None
) -> Steps:
    from acreg.data.label_table import read_label_table
    from acreg.data.volume_steps import Steps

    try:
        numbers = tuple(float(text) for text in spacing.split(",")) if spacing is not None else ()
    except ValueError:
        raise UsageError(
            f"The new spacing is one positive number, or one for each axis, in mm. Received: --spacing {spacing}. "
            "Give for example 1, or 3,1,1 for (z, y, x)."
        ) from None
    shape = () if size is None else tuple(_whole(text) for text in size.split(","))
    table = None if merge is None else read_label_table(merge)
    return Steps(table, numbers, crop, margin, align or "", shape)


@app.command("phantoms")
def phantoms(
    organ: Annotated[Literal["chest", "heart"], typer.Argument(help="chest or heart.", show_default=False)],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    subjects: Annotated[int, typer.Option(min=10, help="How many.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Another number gives other subjects.")] = 0,
) -> None:
    """Make a dataset of drawn subjects, to try out recipes.

    chest: X-rays of 128 x 128 pixels with two lungs and a heart. heart: short-axis MR, 16 slices of 64 x 64 voxels of
    8 x 1.75 x 1.75 mm, with the blood pool and the myocardium of both ventricles. The subjects differ in anatomy,
    contrast and noise. The first 60 % are for training, the next 20 % for validation, the rest for testing.

    \b
    Example:
      acreg data phantoms heart --out datasets/hearts --subjects 100
    """
    from acreg.data.heart_phantoms import make_heart_dataset
    from acreg.data.phantoms import make_dataset

    if out_folder.is_file() or (out_folder.is_dir() and any(out_folder.iterdir())):
        raise AcregError(
            f"Phantoms are written into a folder of their own. Received: {out_folder}, which is there and not empty. "
            "Name another folder."
        )
    make = make_heart_dataset if organ == "heart" else make_dataset
    with bars() as update:
        made = make(out_folder, subjects, seed=seed, progress=update)
    _describe(made)


@app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="Prepared folder, manifest CSV, or name under ACREG_DATA.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """List everything that is wrong with a dataset, with remedies.

    The manifest and each file are checked, then the subjects against one another: axes, spacing, place in space, label
    sets, and whether one seems mirrored or turned. A line names five subjects at most; --json has all.

    The exit code is 1 if there is an error; warnings alone give 0.

    \b
    Examples:
      acreg data check datasets/jsrt
      acreg data check my_scans/manifest.csv --json
    """
    from acreg.data import check as library
    from acreg.data.manifest import dataset_folder

    with bars() as update:
        result = library.check(folder if folder.exists() else dataset_folder(folder), progress=update)
    if as_json:
        import json
        from dataclasses import asdict

        findings = [asdict(finding) for finding in result.findings]
        found = {"subjects": result.counts, "findings": findings, "notes": result.notes}
        out(json.dumps({"folder": str(result.folder), **found}, indent=2))
    else:
        table(f"Subjects in {result.folder}", ("split", "subjects"), list(result.counts.items()))
        for finding in result.findings:
            out(str(finding))
        for text in result.notes:
            out(f"note: {text}")
        warnings = len(result.findings) - result.errors
        out(f"{result.errors} errors, {warnings} warnings." if result.findings else "Nothing is wrong.")
    if result.errors:
        raise typer.Exit(1)


@app.command("synthesize")
def synthesize(
    dataset: Annotated[str, typer.Argument(help="Prepared folder, manifest CSV, or name under ACREG_DATA.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    count: Annotated[int | None, typer.Option(help="Pairs in all; one a subject if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random displacements and intensities.")] = 0,
    max_rotation: Annotated[float, typer.Option(help="Degrees about each axis.")] = 10.0,
    max_translation: Annotated[float, typer.Option(help="Length of the shift, mm.")] = 30.0,
    max_deformation: Annotated[float, typer.Option(help="Length at the control points, mm.")] = 6.0,
    control_points: Annotated[int, typer.Option(help="Along each axis, 3 to 12.")] = 8,
    gamma: Annotated[float, typer.Option(help="Intensities to the power 2^g, g from -GAMMA to GAMMA.")] = 1.0,
    brightness: Annotated[float, typer.Option(help="Change of brightness, share of the range.")] = 0.2,
) -> None:
    """Make pairs of known displacement from single images.

    Warps images of a split by random rotations, shifts and thin-plate splines, and writes the pairs as a dataset with
    the true displacements and a pairs.csv, which `acreg evaluate` then uses. An interrupted command is continued by the
    same command.

    \b
    Example:
      acreg data synthesize datasets/brains --out datasets/brain_pairs --count 100
      acreg evaluate --data datasets/brain_pairs --model runs/brains/preset --out results/brain_pairs
    """
    from acreg.data import synthesis
    from acreg.data.manifest import Dataset, dataset_folder

    limits = {
        "max_rotation": max_rotation,
        "max_translation": max_translation,
        "max_deformation": max_deformation,
        "control_points": control_points,
        "gamma": gamma,
        "brightness": brightness,
    }
    source = Dataset.load(dataset_folder(dataset))
    with bars() as update:
        made = synthesis.synthesize(source, out_folder, split, count, seed, limits, progress=update)
    pairs = len(made.records) // 2
    out(f"{made.name}: {pairs} pairs ({split}) in {made.folder}")
    doubtful: dict[str, str] = made.preparation.get("doubtful", {})
    if doubtful:
        name, what = next(iter(doubtful.items()))
        note(
            f"{len(doubtful)} of the {pairs} pairs are doubtful, such as {name}, which {what}. Lower --max-translation "
            "where labels are lost; lower --max-deformation or --control-points where the displacement folds."
        )
    note(f"Next: acreg evaluate --data {made.folder} --model PRESET --out DIR")


@app.command("velocities")
def velocities(
    dataset: Annotated[str, typer.Argument(help="Prepared folder, manifest CSV, or name under ACREG_DATA.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    pairs: Annotated[
        str,
        typer.Option(help="all, a number, a multiple of the subjects such as 2N, or a CSV with columns fixed,moving."),
    ] = "all",
    seed: Annotated[int, typer.Option(help="Of the draw of pairs.")] = 0,
    template: Annotated[
        str | None, typer.Option(help="Matched to all others; the most typical subject if left out.")
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(help="Regions with a surface, such as 1,1+2,3; each label if left out."),
    ] = None,
    edge: Annotated[
        float | None, typer.Option(help="Of the surfaces, mm; twice the finest spacing if left out.")
    ] = None,
    matcher: Annotated[str, typer.Option(help="point-drift (fast) or currents.")] = "point-drift",
    poisson_ratio: Annotated[float, typer.Option(help="Of the elastic body between the surfaces.")] = 0.3,
    smoothing: Annotated[float, typer.Option(help="How freely landmarks are missed; 0 interpolates them.")] = 0.5,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; `velocities` in the dataset if left out.")
    ] = None,
) -> None:
    """Make reference velocities from segmentations, to train SVF-Net.

    The surfaces of a template are matched to those of each subject; an elastic body spline carries the landmarks of one
    subject to those of another, and the velocity is the logarithm of that. An interrupted command is continued by the
    same command, and more pairs are added by one that asks for more.

    \b
    Examples:
      acreg data velocities datasets/hippocampus --pairs 10N --jobs 2
      acreg data velocities datasets/hearts --regions 1,1+2,3,3+4 --edge 6
    """
    import numpy as np

    from acreg.applications.evaluation import choose_pairs
    from acreg.applications.shape_velocities import ShapeSettings, make_velocities
    from acreg.data.manifest import Dataset, dataset_folder
    from acreg.data.velocities import FOLDER

    source = Dataset.load(dataset_folder(dataset))
    subjects = [record.subject for record in source.split(split)]
    request = str(len(subjects) * (len(subjects) - 1)) if pairs == "all" else pairs
    settings = ShapeSettings(_regions(regions), edge, matcher, poisson_ratio, smoothing)
    folder = out_folder or source.folder / FOLDER
    with bars() as update:
        rows = make_velocities(
            source, folder, choose_pairs(request, subjects, seed), settings, template, jobs, progress=update
        )
    mean = {name: float(np.mean([row[name] for row in rows])) for name in ("dsc", "assd", "mean_residual", "seconds")}
    folded = max(row["folded_percent"] for row in rows)
    out(f"{source.name}: velocities of {len(rows)} pairs ({split}) in {folder}")
    out(
        f"  labels moved by them: Dice {mean['dsc']:.3f}, surface distance {mean['assd']:.2f} {source.unit}; at most "
        f"{folded:.2g} % folded; residual {mean['mean_residual']:.3f} voxels; {mean['seconds']:.1f} s a pair"
    )
    note("Next: acreg train RECIPE with data.velocities, such as svfnet-hippocampus")


def _regions(request: str | None) -> tuple[tuple[int, ...], ...] | None:
    """Labels of each region, of a request such as ``1,1+2,3``."""
    if request is None:
        return None
    try:
        return tuple(tuple(int(value) for value in region.split("+")) for region in request.split(","))
    except ValueError as error:
        raise UsageError(
            "Regions are labels, joined by + and separated by commas, such as 1,1+2,3. "
            f"Received: --regions {request}. Correct it."
        ) from error
