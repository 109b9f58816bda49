"""Classification of disease by shape: features of segmentations, and a cross-validated support vector machine.

Source: the AC-RegNet paper, section 5.3 (cardiomegaly from 32 principal components or the 32-d code, 20 folds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from acreg.errors import AcregError, UsageError
from acreg.geometry import labels_on, resize_labels
from acreg.io import Image
from acreg.models import LabelAutoencoder

SIDE = 64
"""Pixels along each axis of the masks that `mask_vector` makes."""
COMPONENTS = 32
FOLDS = 20
REPEATS = 2000
"""Number of bootstrap samples for the interval of the area under the ROC curve."""


def mask_vector(labels: Image, values: Sequence[int]) -> NDArray[np.float32]:
    """The masks of the labels, each resized to 64 voxels per axis, concatenated: ``(len(values) * 64**axes,)``."""
    small = resize_labels(labels.array, (SIDE,) * labels.grid.rank)
    return np.concatenate([(small == value).ravel() for value in values]).astype(np.float32)


def label_codes(model: LabelAutoencoder, images: Sequence[Image], labels: Sequence[Image]) -> NDArray[np.float32]:
    """The autoencoder's codes ``(n, code_size)`` of label maps; their images define the position of its grid.

    Raises:
        AcregError: a label that the autoencoder does not have, labels that cannot be placed on their image (see
            `acreg.geometry.labels_on`), or no ``preprocessing``.
    """
    settings = model.preprocessing
    if settings is None:
        raise AcregError("Codes need a preset, which knows its grid. Received: an autoencoder without `preprocessing`.")
    pairs = zip(images, labels, strict=True)
    ids = [settings.apply_labels(labels_on(one, image), settings.grid(image)) for image, one in pairs]
    return np.asarray(ops.convert_to_numpy(model.encode(np.stack(ids))), np.float32)


def cardiothoracic_ratio(labels: Image, heart: int, lungs: Sequence[int]) -> float:
    """The greatest width of the heart divided by that of the thorax, as radiologists measure it on a frontal X-ray.

    The width of the heart is the distance between its outermost points on either side, regardless of their height. The
    width of the thorax is measured at the height where the outer borders of the two lungs are farthest apart. A ratio
    above 0.5 is the usual sign of an enlarged heart.

    Args:
        labels: label map of a frontal X-ray, upright: widths run along the last axis.
        heart: its label.
        lungs: their labels.

    Raises:
        AcregError: the map is not 2-D, or the heart or the lungs are absent.
    """
    array = labels.array
    masks = array == heart, np.isin(array, lungs)
    if array.ndim != 2 or not all(mask.any() for mask in masks):
        raise AcregError(
            "A cardiothoracic ratio is measured on a 2-D label map with heart and lungs. Received: "
            f"{labels.name or 'labels'} of shape {array.shape} with labels {np.unique(array).tolist()}, heart {heart}, "
            f"lungs {list(lungs)}. Correct the labels' numbers."
        )
    columns = np.flatnonzero(masks[0].any(axis=0))
    rows = masks[1][masks[1].any(axis=1)]
    widths = rows.shape[1] - rows[:, ::-1].argmax(axis=1) - rows.argmax(axis=1)
    return float((columns[-1] - columns[0] + 1) / widths.max())


def classifier(components: int = 0) -> Pipeline:
    """The pipeline that is fitted in each fold: standardisation, principal components if requested, and an SVM.

    The SVM has radial basis functions, C = 1, and weights that balance unequal classes. Components are not standardised
    again, because those beyond the rank of the masks are rounding errors.
    """
    machine = SVC(kernel="rbf", C=1.0, class_weight="balanced")
    return make_pipeline(StandardScaler(), *([PCA(components, svd_solver="full")] if components else []), machine)


@dataclass(frozen=True)
class CrossValidation:
    """Scores of subjects by classifiers that were trained without them.

    Attributes:
        truth: whether each subject has the disease.
        scores: score of each subject; more than 0 means the disease.
        seed: seed of the folds and of the resampling.
    """

    truth: NDArray[np.bool_]
    scores: NDArray[np.float64]
    seed: int

    @property
    def accuracy(self) -> float:
        """Share of the subjects that are classified correctly."""
        return float((self.truth == (self.scores > 0)).mean())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval."""
        right = int((self.truth == (self.scores > 0)).sum())
        low, high = binomtest(right, len(self.truth)).proportion_ci(0.95, method="wilson")
        return float(low), float(high)

    @property
    def auc(self) -> float:
        """Area under the ROC curve of all scores together."""
        return float(roc_auc_score(self.truth, self.scores))

    @property
    def auc_interval(self) -> tuple[float, float]:
        """The 95 % percentile interval over 2,000 bootstrap samples of the subjects of each class."""
        rng = np.random.default_rng(self.seed)
        ill, well = self.scores[self.truth], self.scores[~self.truth]
        found = []
        for _ in range(REPEATS):
            one, other = rng.choice(ill, len(ill)), rng.choice(well, len(well))
            order = np.sort(other)
            below = np.searchsorted(order, one, "left") + np.searchsorted(order, one, "right")
            found.append(below.mean() / 2 / len(other))
        low, high = np.percentile(found, (2.5, 97.5))
        return float(low), float(high)


def cross_validate(
    features: ArrayLike,
    diseased: Sequence[bool],
    masks: bool = False,
    folds: int = FOLDS,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> CrossValidation:
    """Scores of all subjects, each by a pipeline that was fitted completely on the other folds.

    Args:
        features: ``(subjects, count)``.
        diseased: whether each subject has the disease.
        masks: whether the features come from `mask_vector` and are reduced to principal components inside each fold.
        folds: number of folds, with equal shares of both classes.
        seed: seed of the folds.
        groups: the group of each subject, such as the patient of an image: a group is never split between folds, and
            the shares of the classes are as equal as that allows. None: each subject is its own group.

    Raises:
        UsageError: a class has fewer subjects or groups than folds, or features are not one finite row per subject.
    """
    values, truth = np.asarray(features, dtype=float), np.asarray(diseased, dtype=bool)
    members = np.arange(len(truth)).astype(str) if groups is None else np.asarray(groups)
    fewest = min(len(np.unique(members[truth])), len(np.unique(members[~truth])))
    if values.ndim != 2 or len(values) != len(truth) or not np.isfinite(values).all() or not 2 <= folds <= fewest:
        raise UsageError(
            "A cross-validation needs a finite row of features a subject, and at least as many subjects of each class "
            "as folds, or groups where there are groups, and two folds or more. Received: features of shape "
            f"{values.shape}, {int(truth.sum())} subjects with the disease and {int((~truth).sum())} without, {folds} "
            f"folds{'' if groups is None else f', {fewest} groups in the class with fewer'}."
        )
    if groups is None:
        split = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(values, truth))
    else:
        split = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(values, truth, members))
    most = min(values.shape[1], *(len(train) for train, _ in split))
    machine = classifier(min(COMPONENTS, most) if masks else 0)
    scores = cross_val_predict(machine, values, truth, cv=split, method="decision_function")
    return CrossValidation(truth, scores, seed)
