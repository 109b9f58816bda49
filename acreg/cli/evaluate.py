"""`acreg evaluate`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from acreg.cli._border import BorderOption, FillOption, border_and_fill
from acreg.cli.console import bars, hold, note, out, table, warn
from acreg.cli.register import METHODS
from acreg.errors import UsageError


def evaluate(
    data: Annotated[
        str,
        typer.Option(
            help="Prepared dataset: a folder, a name under $ACREG_DATA, 'phantoms' or 'mni152'.", show_default=False
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or folder of a preset, or NAME=PRESET; may be repeated.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Classical method, or NAME=TOOL:KIND: {METHODS}; may be repeated.",
            show_default=False,
            metavar="TOOL:KIND",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for the classical methods.", metavar="N")] = 1,
    split: Annotated[str, typer.Option(help="Split to evaluate: train, validation or test.")] = "test",
    pairs: Annotated[
        str | None,
        typer.Option(
            help="Pairs to register: 2N (twice the number of subjects, or all pairs if there are fewer), a number, or "
            "a CSV file with the columns fixed,moving and optionally transform. Default: pairs.csv of the dataset if "
            "there is one, else 2N.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed for drawing the pairs and for the classical methods.")
    ] = 0,
    refine: Annotated[
        int,
        typer.Option(
            min=0, help="Maximum number of refinement steps for each pair; 0 means no refinement.", metavar="STEPS"
        ),
    ] = 0,
    affine_part: Annotated[
        bool, typer.Option("--affine-part", help="Also score the affine part of each model that has one.")
    ] = False,
    save: Annotated[
        str,
        typer.Option(
            help="Results to save for every pair, any of labels,displacement,transform,images; a transform is saved "
            "with its inverse."
        ),
    ] = "",
    unregistered: Annotated[
        bool, typer.Option("--unregistered/--no-unregistered", help="Also score the pairs without registration.")
    ] = True,
    border: BorderOption = None,
    fill: FillOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Score presets and classical methods on pairs of a dataset.

    Registers the same pairs with every method. Measures, for each label and on the grid of the images, the Dice
    coefficient, the Hausdorff distance, its 95th percentile and the mean surface distance, and for each pair the
    folding of the field and the time. If the pairs have true transforms, as those of `acreg data synthesize` have, it
    also measures how far the predicted positions of the labelled voxels lie from the true ones. For pairs without
    labels it measures NCC and SSIM of the images, folding and time. Doubtful results (see `acreg register`) are counted
    and named. Writes pairs.csv and summary.json for each method once the method is complete. To continue an interrupted
    evaluation, run the same command again: complete methods are kept if weights, data, pairs and settings are the same.

    \b
    Examples:
      acreg evaluate --model acregnet-jsrt --data jsrt --split test --pairs 2N --seed 0 --out results/jsrt
      acreg evaluate --model acregnet-jsrt --method sitk:affine --method ants:SyN --data jsrt --out results/jsrt
      acreg evaluate --method "demons=sitk:demons[smoothing=1,affine=false]" --data hearts --out results/hearts
      acreg compare results/jsrt
    """
    from acreg._moved import warn_of_old_name
    from acreg.data.manifest import Dataset, dataset_folder
    from acreg.data.tables.pair_files import PAIRS_NAME
    from acreg.evaluation import run as evaluation
    from acreg.names import some
    from acreg.registration.methods import Method, PresetMethod, Unregistered, named_method
    from acreg.report.tables import order_methods, summary_table

    outside = border_and_fill(border, fill)
    hold(folder)
    dataset = Dataset.load(dataset_folder(data))
    records = dataset.used_split(split)
    own = dataset.folder / PAIRS_NAME
    which = pairs if pairs is not None else str(own) if own.is_file() else "2N"
    subjects = [record.subject for record in records]
    chosen = evaluation.choose_pairs(which, subjects, seed)
    truths = evaluation.true_transforms(which, subjects)
    methods: list[Method] = []
    for request in dict.fromkeys(model or []):
        name, found, preset = request.partition("=")
        if request == Unregistered.name:
            warn_of_old_name("--model unregistered", "--method unregistered")
            unregistered = True
        else:
            named = found and name and not Path(request).exists()
            learned = PresetMethod(preset, name, refine) if named else PresetMethod(request, refine=refine)
            part = learned.affine_part() if affine_part else None
            methods += [learned] if part is None else [part, learned]
            if affine_part and part is None:
                note(f"{learned.name} has no affine part.")
    for request in dict.fromkeys(method or []):
        called = re.fullmatch(r"([^=\[\]]+)=(.+)", request)  # an option's = comes after its bracket
        found_method = named_method(called[2] if called else request, threads, seed)
        if isinstance(found_method, Unregistered):
            unregistered = True
        else:
            found_method.name = called[1] if called else found_method.name
            methods.append(found_method)
    if unregistered:
        methods.append(Unregistered())
    if not methods:
        raise UsageError("Something must be evaluated. Received: no --model and no --method. Give one of them.")
    idle = [name for name, given in (("--refine", refine), ("--affine-part", affine_part)) if given]
    if idle and all(request == Unregistered.name for request in model or []):
        raise UsageError(f"Models alone have this. Received: {' and '.join(idle)} without --model. Leave it out.")
    wanted = [word.strip() for word in save.split(",") if word.strip()]
    source = f" of {own}" if which == str(own) else ""
    known = f", {len(truths)} with a true transform" if truths else ""
    labelled = evaluation.labelled_pairs(dataset, chosen)
    if labelled < len(chosen):
        known += f", {labelled or 'none'} with labels"
    note(
        f"{len(chosen)} pairs{source} of {dataset.name} ({split}, {len(records)} subjects){known}, "
        f"{len(methods)} methods"
    )
    with bars() as show:
        results = evaluation.evaluate(
            methods,
            dataset,
            split,
            chosen,
            folder,
            truths=truths,
            save=wanted,
            settings={"pairs": which, "seed": seed, "refine": refine},
            border=outside[0],
            fill=outside[1],
            overwrite=overwrite,
            progress=show,
            say=note,
        )
    of_these = "" if labelled == len(chosen) else f", {labelled} with labels"
    table(f"{dataset.name}, {split}, {len(chosen)} pairs{of_these}: mean (SD)", *summary_table(order_methods(results)))
    for result in results:
        if result.failures:
            first = result.failures[0]
            note(
                f"{result.name} failed on {len(result.failures)} pairs, "
                f"first {first.fixed} <- {first.moving}: {first.failure}"
            )
        if "no_inverse" in result.summary:
            lacking = result.summary["no_inverse"]
            note(f"{result.name}: no inverse was written for {lacking['pairs']} pairs. {lacking['first']}")
        for name, concerned in result.concerned.items():
            first = concerned[0]
            warn(f"{result.name}: {name} in {len(concerned)} pairs, first {first.fixed} <- {first.moving}.")
        absent = [f"{result.label_names[label]} in {count}" for label, count in result.absent().items() if count]
        if absent:
            note(
                f"{result.name}: absent in one of the maps, so with Dice 0 and no distances, or in both, so without "
                f"scores: {some(absent)} of {len(result.pairs)} pairs"
            )
    out(f"Results: {folder}. Next: acreg compare {folder}")
