"""``acreg classify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import hold, note, out, progress, table
from acreg.errors import UsageError


def classify(
    data: Annotated[str, typer.Option("--data", help="Dataset with label maps: folder, or name under ACREG_DATA.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    diseased: Annotated[
        str | None, typer.Option(help="Names of the diseased, such as 'MCUCXR_*_1'.", show_default=False)
    ] = None,
    flags: Annotated[
        Path | None, typer.Option(help="CSV subject,diseased, or ChestX-ray14's list.", show_default=False)
    ] = None,
    finding: Annotated[str, typer.Option(help="In ChestX-ray14's list, such as Cardiomegaly.")] = "",
    autoencoder: Annotated[
        str | None, typer.Option(help="Preset whose codes are features, too.", show_default=False)
    ] = None,
    heart: Annotated[
        int | None, typer.Option(help="Label of the heart, for the cardiothoracic ratio.", show_default=False)
    ] = None,
    lungs: Annotated[str, typer.Option(help="Labels of the lungs, for the same.")] = "1,2",
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
) -> None:
    """Tell disease from the shape of segmentations, cross-validated.

    Takes features of all label maps of a dataset: the masks, reduced to 32 principal components; with --autoencoder its
    codes; with --heart the cardiothoracic ratio. A support vector machine is fitted to each inside of every fold.
    Prints accuracy and area under the ROC curve with intervals of 95 %, and writes scores.csv, summary.json and
    roc.png. For segmentations of your own, give a dataset with those as labels.

    \b
    Examples:
      acreg classify --data montgomery --diseased 'MCUCXR_*_1' --autoencoder autoencoder-montgomery --out results/tb
      acreg classify --data nih --flags Data_Entry_2017.csv --finding Cardiomegaly --heart 3 --out results/heart
    """
    import numpy as np

    from acreg.data.disease_flags import flags_by_name, read_flags
    from acreg.data.manifest import Dataset, dataset_folder
    from acreg.evaluation.classification import (
        cardiothoracic_ratio,
        cross_validate,
        label_codes,
        mask_vector,
    )
    from acreg.io import all_or_none
    from acreg.models import LabelAutoencoder, from_preset
    from acreg.report.classification import write_classification

    if (diseased is None) == (flags is None):
        raise UsageError(
            "Who has the disease is said by --diseased, a pattern of names, or by --flags, a CSV. Received: "
            f"{'neither' if diseased is None else 'both'}. Give one of them."
        )
    hold(folder)
    check_free(folder, ("scores.csv", "summary.json", "roc.png"), overwrite)
    try:
        sides = tuple(int(word) for word in lungs.split(","))
    except ValueError as error:
        raise UsageError(f"--lungs are labels, such as 1,2. Received: {lungs}. Correct it.") from error
    model = from_preset(autoencoder) if autoencoder else None
    if model is not None and not isinstance(model, LabelAutoencoder):
        raise UsageError(
            f"--autoencoder is the preset of a label autoencoder. Received: {autoencoder}, a {type(model).__name__}. "
            "A training run writes one beside that of the network."
        )

    dataset = Dataset.load(dataset_folder(data))
    records = [record for record in dataset.records if record.labels is not None]
    subjects = [record.subject for record in records]
    known = flags_by_name(subjects, diseased) if diseased else read_flags(flags or "", subjects, finding)
    records = [record for record in records if record.subject in known]
    truth = [known[record.subject] for record in records]
    note(f"{sum(truth)} of {len(truth)} subjects of {dataset.name} have the disease")
    values = [value for value in dataset.label_values if value]
    features: dict[str, list[np.ndarray]] = {"masks": []}
    with progress("Reading labels", len(records)) as advance:
        for record in records:
            image, labels = dataset.read_labelled(record)
            features["masks"].append(mask_vector(labels, values))
            if model is not None:
                features.setdefault("codes", []).append(label_codes(model, [image], [labels])[0])
            if heart is not None:
                ratio = cardiothoracic_ratio(labels, heart, sides)
                features.setdefault("ratio", []).append(np.array([ratio]))
            advance()
    found = {name: cross_validate(rows, truth, name == "masks", folds, seed) for name, rows in features.items()}
    settings = {
        "dataset": dataset.name,
        "diseased": diseased or str(flags),
        "finding": finding,
        "autoencoder": autoencoder,
        "folds": folds,
        "seed": seed,
    }
    subjects = [record.subject for record in records]
    with all_or_none(folder) as staged:
        rows = write_classification(found, subjects, staged, settings)
    columns = ("Features", "Accuracy", "95 %", "AUC", "95 %")
    table(f"{dataset.name}: {sum(truth)} with and {len(truth) - sum(truth)} without, {folds} folds", columns, rows)
    out(f"\nROC curves: {folder / 'roc.png'}")
