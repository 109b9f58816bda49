"""The sub-commands of ``acreg data`` that make new data: phantoms, pairs, velocities and cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acreg.cli.console import bars, note, out
from acreg.errors import UsageError
from acreg.names import some

if TYPE_CHECKING:
    from acreg.data.manifest import Dataset


def describe(dataset: Dataset) -> None:
    from acreg.data.manifest import SPLITS

    counts = ", ".join(f"{len(dataset.split(name))} {name}" for name in SPLITS)
    labels = ", ".join(f"{value} {name}" for value, name in dataset.label_names.items())
    known = dataset.spacing is not None
    spacing = " x ".join(f"{s:.4g}" for s in dataset.spacing or ()) + f" {dataset.unit}" if known else "in the files"
    out(f"{dataset.name}: {len(dataset.records)} subjects ({counts}) in {dataset.folder}")
    out(f"  labels {labels}; spacing {spacing}")
    if rest := dataset.preparation.get("left_out"):
        note(f"Left out, as folders or files of other formats: {some(rest)}.")


def phantoms(
    organ: Annotated[Literal["chest", "heart"], typer.Argument(help="Organ: chest or heart.", show_default=False)],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    subjects: Annotated[int, typer.Option(min=10, help="Number of subjects.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; each seed gives different subjects.")] = 0,
) -> None:
    """Make a dataset of synthetic subjects, to try out recipes.

    chest: X-rays of 128 x 128 pixels with two lungs and a heart. heart: short-axis MR of 16 slices with 64 x 64 voxels
    of 8 x 1.75 x 1.75 mm, with the blood pools and the myocardium of both ventricles. The subjects differ in anatomy,
    contrast and noise. The first 60 % are the training split, the next 20 % the validation split, the rest the test
    split.

    \b
    Example:
      acreg data phantoms heart --out datasets/hearts --subjects 100
    """
    from acreg.data.manifest import Dataset
    from acreg.data.phantoms.chests import make_dataset
    from acreg.data.phantoms.hearts import make_heart_dataset
    from acreg.io import all_or_none, check_empty

    check_empty(out_folder)
    make = make_heart_dataset if organ == "heart" else make_dataset
    with bars() as update, all_or_none(out_folder) as staged:
        make(staged, subjects, seed=seed, progress=update)
    describe(Dataset.load(out_folder))


def synthesize(
    dataset: Annotated[str, typer.Argument(help="Prepared folder, manifest CSV, or name under $ACREG_DATA.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    split: Annotated[str, typer.Option(help="Split to use: train, validation or test.")] = "test",
    count: Annotated[int | None, typer.Option(help="Total number of pairs. Default: one per subject.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the displacements and intensities.")] = 0,
    max_rotation: Annotated[float, typer.Option(help="Largest rotation about each axis in degrees.")] = 10.0,
    max_translation: Annotated[float, typer.Option(help="Largest length of the translation in mm.")] = 30.0,
    max_deformation: Annotated[
        float, typer.Option(help="Largest length of the displacement at the control points in mm.")
    ] = 6.0,
    control_points: Annotated[int, typer.Option(help="Control points along each axis, 3 to 12.")] = 8,
    gamma: Annotated[
        float, typer.Option(help="Intensities are raised to the power 2^g, with g from -GAMMA to GAMMA.")
    ] = 1.0,
    brightness: Annotated[
        float, typer.Option(help="Largest change of brightness, as a share of the intensity range.")
    ] = 0.2,
    deformed: Annotated[
        bool, typer.Option("--deformed", help="Make the pairs as in the JRS-Net paper, from labelled 2-D images.")
    ] = False,
    rotation: Annotated[
        str | None,
        typer.Option(help="With --deformed: range of the rotation in degrees, LOW,HIGH. Default: 20,180."),
    ] = None,
) -> None:
    """Make pairs with a known displacement from single images.

    Warps images of a split by random rotations, translations and thin-plate splines. Writes the pairs as a dataset with
    the true displacements and a pairs.csv, which `acreg evaluate` uses. With --deformed, the copy of each image is
    instead translated by 5 to 8 % of its width, rotated, and deformed by a B-spline until the Dice overlap of its
    labels with those of the original falls below 0.7; the other limits then have no effect. To continue an interrupted
    command, run it again.

    \b
    Examples:
      acreg data synthesize datasets/jsrt --out datasets/jsrt_pairs --deformed --rotation 20,60
      acreg data synthesize datasets/brains --out datasets/brain_pairs --count 100
      acreg evaluate --data datasets/brain_pairs --model runs/brains/preset --out results/brain_pairs
    """
    from pydantic import ValidationError

    from acreg.data.manifest import Dataset, dataset_folder
    from acreg.data.sampling import synthesis
    from acreg.data.sampling.deformation import RandomDeformation

    limits = {
        "max_rotation": max_rotation,
        "max_translation": max_translation,
        "max_deformation": max_deformation,
        "control_points": control_points,
        "gamma": gamma,
        "brightness": brightness,
    }
    if rotation is not None and not deformed:
        raise UsageError(
            "--rotation is of pairs that are made with --deformed; without, it is --max-rotation. "
            f"Received: --rotation {rotation} alone. Add --deformed, or give --max-rotation."
        )
    random = RandomDeformation() if deformed else None
    if rotation is not None:
        try:
            low, high = (float(word) for word in rotation.split(","))
            random = RandomDeformation(rotation=(low, high))
        except ValueError as error:
            reason = (
                error.errors()[0]["msg"].removeprefix("Value error, ")
                if isinstance(error, ValidationError)
                else "not two numbers"
            )
            raise UsageError(
                f"--rotation is the smallest and the largest turn in degrees, such as 20,180. Received: {rotation} "
                f"({reason}). Correct it."
            ) from error
    source = Dataset.load(dataset_folder(dataset))
    with bars() as update:
        made = synthesis.synthesize(source, out_folder, split, count, seed, limits, random, progress=update)
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


def velocities(
    dataset: Annotated[str, typer.Argument(help="Prepared folder, manifest CSV, or name under $ACREG_DATA.")],
    split: Annotated[str, typer.Option(help="Split to use: train, validation or test.")] = "train",
    pairs: Annotated[
        str,
        typer.Option(
            help="Pairs to make: all, within-groups (see acreg evaluate), a number, a multiple of the number of "
            "subjects such as 2N, or a CSV file with the columns fixed,moving."
        ),
    ] = "all",
    seed: Annotated[int, typer.Option(help="Random seed for drawing the pairs.")] = 0,
    template: Annotated[
        str | None,
        typer.Option(help="Subject whose surfaces are matched to all others. Default: the most typical subject."),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(
            help="Regions that get a surface, each a label or a union of labels, such as 1,1+2,3. Default: each label."
        ),
    ] = None,
    edge: Annotated[
        float | None,
        typer.Option(help="Edge length of the surface meshes in mm. Default: twice the finest spacing."),
    ] = None,
    matcher: Annotated[
        str, typer.Option(help="Surface matching method: point-drift (fast) or currents.")
    ] = "point-drift",
    poisson_ratio: Annotated[float, typer.Option(help="Poisson's ratio of the elastic body spline.")] = 0.3,
    smoothing: Annotated[
        float, typer.Option(help="Smoothing of the spline; at 0 it passes exactly through the landmarks.")
    ] = 0.5,
    jobs: Annotated[int, typer.Option(help="Number of processes.")] = 1,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. Default: `velocities` in the folder of the dataset.")
    ] = None,
) -> None:
    """Make reference velocities for SVF-Net from labels.

    The surfaces of a template are matched to those of each subject, so that their points are landmarks. For each pair,
    an elastic body spline maps the landmarks of one subject to those of the other; the velocity is the logarithm of
    this displacement. To continue an interrupted command, run it again; to add pairs, run it with a larger --pairs.

    \b
    Examples:
      acreg data velocities datasets/hippocampus-aligned --pairs 10N --jobs 2
      acreg data velocities datasets/hearts --regions 1,1+2,3,3+4 --edge 6
    """
    import numpy as np

    from acreg.applications.shape_velocities import ShapeSettings, make_velocities
    from acreg.data.manifest import Dataset, dataset_folder
    from acreg.data.sampling.velocities import FOLDER
    from acreg.evaluation.pairs import choose_pairs

    source = Dataset.load(dataset_folder(dataset))
    records = source.split(split)
    chosen = choose_pairs(pairs, [record.subject for record in records], seed, [record.group for record in records])
    settings = ShapeSettings(_regions(regions), edge, matcher, poisson_ratio, smoothing)
    folder = out_folder or source.folder / FOLDER
    with bars() as update:
        rows = make_velocities(source, folder, chosen, settings, template, jobs, progress=update)
    mean = {name: float(np.mean([row[name] for row in rows])) for name in ("dsc", "assd", "mean_residual", "seconds")}
    folded = max(row["folded_percent"] for row in rows)
    out(f"{source.name}: velocities of {len(rows)} pairs ({split}) in {folder}")
    out(
        f"  labels moved by them: Dice {mean['dsc']:.3f}, surface distance {mean['assd']:.2f} {source.unit}; at most "
        f"{folded:.2g} % folded; residual {mean['mean_residual']:.3f} voxels; {mean['seconds']:.1f} s per pair"
    )
    note("Next: acreg train RECIPE with data.velocities, such as svfnet-hippocampus")


def cohort(
    quality: Annotated[
        Path, typer.Option(help="Results of `acreg quality`: the folder, or quality.csv.", show_default=False)
    ],
    flags: Annotated[Path, typer.Option(help="Data_Entry_2017.csv of ChestX-ray14.", show_default=False)],
    finding: Annotated[str, typer.Option(help="Finding in this list, such as Cardiomegaly.", show_default=False)],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    threshold: Annotated[float, typer.Option(help="Smallest predicted Dice of a segmentation that is used.")] = 0.92,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for drawing the healthy patients.")] = 0,
) -> None:
    """Choose segmentations with a finding, and as many of healthy patients, for `acreg classify`.

    Uses segmentations of ChestX-ray14 whose predicted Dice is at least the threshold: all with the finding, and the
    first image of as many patients without any finding, who are drawn at random. Writes a manifest.csv, whose group is
    the patient; images and label maps stay where they are.

    \b
    Example:
      acreg data prepare nih --source ChestX-ray14 --out datasets/nih
      acreg segment --images datasets/nih/manifest.csv --data jsrt --model acregnet-jsrt --out result
      acreg quality --images result/segmentations.csv --data jsrt --model acregnet-jsrt --out quality
      acreg data cohort --quality quality --flags Data_Entry_2017.csv --finding Cardiomegaly --out datasets/hearts
      acreg classify --data datasets/hearts --flags Data_Entry_2017.csv --finding Cardiomegaly --out results/heart
    """
    from acreg.applications.cohort import balanced_cohort

    with bars() as update:
        made = balanced_cohort(quality, flags, finding, out_folder, threshold, seed, progress=update)
    counts = made.preparation
    describe(made)
    out(f"  {counts['diseased']} with {finding}, {counts['healthy']} healthy; {counts['rejected']} rejected")
    note(f"Next: acreg classify --data {made.folder} --flags {flags} --finding {finding!r} --out DIR")


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
