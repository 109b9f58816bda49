"""``acreg data``: prepares and checks datasets, and makes phantoms, pairs and velocities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acreg.cli._data_making import cohort, describe, phantoms, synthesize, velocities
from acreg.cli.console import bars, note, out, table
from acreg.data.datasets import NAMES
from acreg.errors import UsageError

if TYPE_CHECKING:
    from acreg.data.manifest import Dataset
    from acreg.data.prepare.steps import Steps

app = typer.Typer(no_args_is_help=True, help="Prepare, check and synthesize datasets.")


@app.command("prepare")
def prepare(
    dataset: Annotated[str, typer.Argument(help=f"{', '.join(NAMES)}, nih, or folder (your own images).")],
    source: Annotated[Path, typer.Option("--source", help="Folder that contains the dataset.", show_default=False)],
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. Default for `folder`: the source folder.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            help="Side length of the images in pixels. Default: 256. For `folder` with --align: shape of the grid in "
            "voxels, such as 16,64,64.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", help="Random seed for choosing the validation subjects or, without published lists, all splits."
        ),
    ] = 0,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="Subject to which original Montgomery or Shenzhen images are registered."),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option("--spacing", help="For `folder`: new spacing in mm, such as 1, or 3,1,1 for (z, y, x)."),
    ] = None,
    merge: Annotated[
        str | None,
        typer.Option(
            "--merge",
            help="For `folder`: labels to merge, as a CSV file with columns label,merged,name, or dlmuse-16 or -38.",
        ),
    ] = None,
    crop: Annotated[
        int | None, typer.Option("--crop", help="For `folder`: label, after merging, to crop around.")
    ] = None,
    margin: Annotated[float, typer.Option("--margin", help="Margin around the cropped label in mm.")] = 0.0,
    align: Annotated[
        str | None,
        typer.Option("--align", help="For `folder`: subject to which all others are aligned by their labels, or auto."),
    ] = None,
    visits: Annotated[
        str | None,
        typer.Option("--visits", help="For `nih`: number of images of a patient, LOW,HIGH. Default: any."),
    ] = None,
    view: Annotated[str | None, typer.Option("--view", help="For `nih`: PA or AP. Default: both.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="Number of processes.")] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a dataset in --out that was prepared with other settings.")
    ] = False,
) -> None:
    """Prepare a dataset for training and evaluation.

    The source of jsrt, montgomery and shenzhen is the public AC-RegNet repository (its root, its folder data, or the
    folder of the dataset in it) or the original files of the dataset's owner. The published test list is kept; a
    quarter of the training list becomes the validation split. To continue an interrupted command, run it again.

    `folder` writes a manifest.csv for DIR/images and DIR/labels, where DIR is the source and the image and the labels
    of a subject have the same file name. With --spacing, --merge, --crop or --align it writes copies into --out
    instead, as HDF5: resampled (images by cubic splines, labels by the nearest voxel), with merged labels, cropped or
    aligned. If DIR/manifest.csv exists, subjects and splits are taken from it.

    `nih` writes a manifest for the archive of ChestX-ray14 (images_*/images and Data_Entry_2017.csv, and the published
    lists if they are there) into --out. There are no labels: `acreg segment` makes them. The group of an image is its
    patient, whose visits are in order.

    --align rotates and translates each subject, without scaling, so that its labels overlap with those of the named
    subject (auto: the subject that is most similar to the others). All copies then have the same grid of --size voxels,
    in the space of that subject and around its labels. OUT/transforms/SUBJECT.tfm maps points of this grid to the
    original space of SUBJECT, so that `acreg warp --inverse` with this file maps results back. OUT/alignment.csv
    reports how well the labels overlap.

    \b
    Examples:
      acreg data prepare jsrt --source ACRN_Chest_X-ray_IA --out datasets/jsrt
      acreg data prepare montgomery --source MontgomerySet --out datasets/montgomery --jobs 4
      acreg data prepare nih --source ChestX-ray14 --out datasets/nih --visits 3,8
      acreg data prepare folder --source my_scans
      acreg data prepare folder --source ixi --out datasets/ixi --spacing 1 --merge dlmuse-16 --jobs 4
      acreg data prepare folder --source hearts --out datasets/hearts --align auto --size 16,64,64 --spacing 8,1.5,1.5
    """

    with bars() as update:
        copies = any(option is not None for option in (spacing, merge, crop, align))
        if dataset != "nih" and (visits is not None or view is not None):
            raise UsageError(f"--visits and --view are for nih. Received: one of them for {dataset}. Leave it out.")
        if dataset == "nih":
            others = copies or margin or force or jobs != 1 or size is not None or reference is not None
            prepared = _nih(source, out_folder, visits, view, seed, bool(others))
        elif dataset == "folder":
            alone = not copies and (jobs != 1 or force or margin)
            if (size is not None and align is None) or reference is not None or alone:
                raise UsageError(
                    "`folder` writes a manifest and leaves the images as they are, or copies by --spacing, --merge, "
                    "--crop and --align. Received: --reference, --size without --align, or --jobs, --force or --margin "
                    "without copies. Leave these out."
                )
            if copies:
                from acreg.data.prepare.copies import prepare_copies

                if out_folder is None:
                    raise UsageError(
                        "Copies need a folder. Received: no --out with --spacing, --merge, --crop or --align. Add "
                        "--out DIR."
                    )
                steps = _steps(spacing, merge, crop, margin, align, size)
                prepared = prepare_copies(source, out_folder, steps, seed, jobs, force, update)
            else:
                from acreg.data.datasets.folder import prepare_folder

                prepared = prepare_folder(source, out_folder, seed=seed, progress=update)
        else:
            from acreg.data.datasets import get_dataset
            from acreg.data.prepare import pictures as library

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
    describe(prepared)
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
    if prepared.preparation.get("absent"):
        note(f"{prepared.preparation['absent']} images of the list are not in the folders and were left out.")
    if prepared.preparation.get("skipped"):
        note(f"{prepared.preparation['skipped']} images were left out, because they have no labels or are in no list.")
    note(f"Next: acreg data check {prepared.folder}")


def _nih(
    source: Path, out_folder: Path | None, visits: str | None, view: str | None, seed: int, others: bool
) -> Dataset:
    from acreg.data.datasets.nih import prepare_nih

    if out_folder is None or others:
        raise UsageError(
            "`nih` writes a manifest into --out and leaves the images as they are; it takes --visits, --view and "
            f"--seed. Received: {'no --out' if out_folder is None else 'another option'}. Correct this."
        )
    try:
        least, most = (1, None) if visits is None else [int(word) for word in visits.split(",")]
    except ValueError:
        raise UsageError(
            f"--visits is a smallest and a largest number, such as 3,8. Received: --visits {visits}. Correct it."
        ) from None
    return prepare_nih(source, out_folder, (least, most), view or "", seed)


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
    from acreg.data.prepare.steps import Steps
    from acreg.data.tables.label_table import read_label_table

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


@app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="Prepared folder, manifest CSV, or name under $ACREG_DATA.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """List everything that is wrong with a dataset, with remedies.

    Checks the manifest and each file, then compares the subjects with one another: axes, spacing, position in space,
    sets of labels, and whether a subject seems to be mirrored or rotated. Each line names at most five subjects; --json
    lists all of them.

    The exit code is 1 if there are errors and 0 if there are only warnings.

    \b
    Examples:
      acreg data check datasets/jsrt
      acreg data check my_scans/manifest.csv --json
    """
    from acreg.data.check import dataset as library
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


for make in (cohort, phantoms, synthesize, velocities):
    app.command(make.__name__)(make)
