"""Cross-validated classification of disease from the shape of segmentations: `acreg.classify`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.tables.disease_flags import flags_by_name, read_flags
from acreg.errors import UsageError, argument
from acreg.evaluation.classification import (
    FOLDS,
    CrossValidation,
    cardiothoracic_ratio,
    cross_validate,
    label_codes,
    mask_vector,
)
from acreg.geometry.display import table_html
from acreg.io import all_or_none, check_free
from acreg.io.label_values import warn_of_other_names
from acreg.models import LabelAutoencoder
from acreg.models.presets import load_autoencoder
from acreg.progress import Progress, counted, notebook_bars
from acreg.report.classification import roc_curves, table_rows, write_classification

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = ("scores.csv", "summary.json", "roc.png")
COLUMNS = ("Features", "Accuracy", "95 %", "AUC", "95 %")
PathLike = str | os.PathLike[str]


@dataclass(eq=False, repr=False)
class Classification:
    """How well each kind of features predicts a disease. A notebook shows the table.

    Attributes:
        found: the cross-validation of each kind of features: "masks", and "codes" and "ratio" on request.
        subjects: the subjects, in the order of the scores.
        settings: the settings of the run, as recorded in `summary.json`.
    """

    found: dict[str, CrossValidation]
    subjects: list[str]
    settings: dict[str, Any]

    @property
    def title(self) -> str:
        """Dataset, numbers of subjects and folds, on one line."""
        truth = self.found["masks"].truth
        counts = f"{truth.sum()} with and {(~truth).sum()} without"
        return f"{self.settings['dataset']}: {counts}, {self.settings['folds']} folds"

    @property
    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Features, accuracy and area under the ROC curve with their confidence intervals: the columns of `COLUMNS`."""
        return table_rows(self.found)

    def figure(self) -> Figure:
        """The ROC curves."""
        return roc_curves(self.found)

    def save(self, folder: PathLike, *, overwrite: bool = False) -> list[Path]:
        """Write scores.csv, summary.json and roc.png and return their paths.

        Raises:
            AcregError: the files exist and may not be replaced, or another process is writing into the folder.
        """
        folder = Path(folder)
        with all_or_none(folder) as staged:
            check_free(folder, FILES, overwrite)
            write_classification(self.found, self.subjects, staged, self.settings)
        return [folder / name for name in FILES]

    def __repr__(self) -> str:
        return f"Classification({self.title})"

    def _repr_html_(self) -> str:
        return table_html(self.rows, COLUMNS, self.title)


def classify(
    data: PathLike | Dataset,
    *,
    diseased: str | None = None,
    flags: PathLike | None = None,
    finding: str = "",
    autoencoder: PathLike | LabelAutoencoder | None = None,
    heart: int | None = None,
    lungs: str | Sequence[int] = (1, 2),
    folds: int = FOLDS,
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Classification:
    """Classify disease from the shape of segmentations with cross-validation, as `acreg classify` does.

    Subjects of one group of the manifest, such as the images of a patient, are in one fold.

    Args:
        data: a dataset with label maps, its folder, or its name under ACREG_DATA.
        diseased: a pattern of the names of the diseased subjects, such as "MCUCXR_*_1".
        flags: instead of a pattern, a CSV file subject,diseased, or the list of ChestX-ray14.
        finding: a finding in the list of ChestX-ray14, such as "Cardiomegaly".
        autoencoder: a preset or a loaded label autoencoder, whose codes are used as features, too.
        heart: label of the heart, for the cardiothoracic ratio.
        lungs: labels of the lungs, for the cardiothoracic ratio.
        folds: number of folds of the cross-validation.
        seed: random seed of the folds.
        progress: called with (text, done, total).
        say: called with messages.

    Raises:
        UsageError: not exactly one of `diseased` and `flags` is given, a class has fewer subjects than there are folds,
            `lungs` are not labels, or the preset is not an autoencoder.
        AcregError: the data cannot be read, or a map lacks the heart or the lungs.
    """
    if (diseased is None) == (flags is None):
        raise UsageError(
            f"Who has the disease is said by {argument('diseased')}, a pattern of names, or by {argument('flags')}, a "
            f"CSV. Received: {'neither' if diseased is None else 'both'}. Give one of them."
        )
    try:
        sides = tuple(int(word) for word in (lungs.split(",") if isinstance(lungs, str) else lungs))
    except ValueError as error:
        raise UsageError(f"{argument('lungs')} are labels, such as 1,2. Received: {lungs}. Correct it.") from error
    stored = isinstance(autoencoder, (str, os.PathLike))
    model = load_autoencoder(autoencoder) if isinstance(autoencoder, (str, os.PathLike)) else autoencoder
    dataset = data if isinstance(data, Dataset) else Dataset.load(dataset_folder(os.fspath(data)))
    if model is not None and model.preprocessing is not None:
        warn_of_other_names(model.preprocessing.label_names, dataset.label_names, dataset.name)
    records = [record for record in dataset.records if record.labels is not None]
    subjects = [record.subject for record in records]
    known = flags_by_name(subjects, diseased) if diseased else read_flags(Path(flags or ""), subjects, finding)
    records = [record for record in records if record.subject in known]
    truth = [known[record.subject] for record in records]
    if say:
        say(f"{sum(truth)} of {len(truth)} subjects of {dataset.name} have the disease")
    values = [value for value in dataset.label_values if value]
    features: dict[str, list[np.ndarray]] = {"masks": []}
    for record in counted(records, "Reading labels", len(records), progress or notebook_bars()):
        image, labels = dataset.read_labelled(record)
        features["masks"].append(mask_vector(labels, values))
        if model is not None:
            features.setdefault("codes", []).append(label_codes(model, [image], [labels])[0])
        if heart is not None:
            features.setdefault("ratio", []).append(np.array([cardiothoracic_ratio(labels, heart, sides)]))
    groups = [record.group or record.subject for record in records]
    together = groups if len(set(groups)) < len(groups) else None
    found = {
        name: cross_validate(rows, truth, name == "masks", folds, seed, together) for name, rows in features.items()
    }
    settings = {
        "dataset": dataset.name,
        "diseased": diseased or str(flags),
        "finding": finding,
        "autoencoder": str(autoencoder) if stored else getattr(model, "name", None),
        "folds": folds,
        "seed": seed,
    }
    return Classification(found, [record.subject for record in records], settings)
