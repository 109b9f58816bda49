"""Prediction of a segmentation's quality without ground truth: reverse classification accuracy.

The segmentation to be judged serves as an atlas: its image is registered to reference images whose true labels are
known, and its labels are moved there and compared with the true ones. A good segmentation is a good atlas for at least
one of the reference images.

Source: Valindria et al., IEEE TMI 36(8), 2017; as used in the AC-RegNet paper, section 5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from medpy.metric import binary
from numpy.typing import NDArray

from acreg.applications.atlases.multi_atlas import Atlases, Similarity
from acreg.data.sampling.augmentation import smooth_noise
from acreg.errors import AcregError, UsageError
from acreg.geometry import labels_on, warp_array
from acreg.io import Image
from acreg.registration.methods import Method, register_many

THRESHOLD = 0.92
"""The paper's threshold: segmentations with a lower predicted Dice are rejected."""


@dataclass(frozen=True)
class PredictedQuality:
    """Result of `predict_quality` for one segmentation.

    Attributes:
        values: the foreground labels.
        dice: Dice of each reference and label, ``(references, len(values))``; NaN where neither map has the label.
        references: the subjects, the most similar one first.
    """

    values: tuple[int, ...]
    dice: NDArray[np.float64]
    references: tuple[str, ...]

    @property
    def maximum(self) -> float:
        """The best reference's mean Dice over labels: the predicted Dice, as in the authors' code."""
        return float(_mean(self.dice, axis=1).max())

    @property
    def mean(self) -> float:
        """The mean Dice over labels and references."""
        return float(_mean(_mean(self.dice, axis=1), axis=0))

    @property
    def per_label(self) -> dict[int, float]:
        """The predicted Dice of each label, from the reference that is best for it; NaN for a label that no map has."""
        best = np.where(np.isnan(self.dice), -np.inf, self.dice).max(axis=0)
        return {value: float(d) if np.isfinite(d) else np.nan for value, d in zip(self.values, best, strict=True)}

    def accepted(self, threshold: float = THRESHOLD) -> bool:
        """Whether the predicted Dice is at least the threshold."""
        return self.maximum >= threshold


def predict_quality(
    cases: Sequence[tuple[Image, Image]],
    references: Atlases,
    method: Method,
    count: int = 10,
    measure: Similarity = "ncc",
    without: Sequence[str] = (),
    at_once: int = 1,
) -> list[PredictedQuality]:
    """Predict the Dice of segmentations from how well each of them segments reference images.

    Args:
        cases: images, each with its segmentation on the image's grid (`acreg.geometry.labels_on`).
        references: subjects whose true labels are known.
        method: the registration method; a case's image is the moving one.
        count: number of references used for each case, the most similar ones.
        measure: how they are chosen, see `ReducedImages.similarities`.
        without: for each case, another subject that must not be its reference, or an empty name; see `Atlases.nearest`.
        at_once: pairs of images in one batch through a network; affects speed and memory only.

    Raises:
        UsageError: as `Atlases.nearest`.
        AcregError: a segmentation does not fit its image, has no foreground, or has a label that the references lack;
            and as for reading and registering.
    """
    values = tuple(value for value in references.dataset.label_values if value)
    cases = [(image, labels_on(segmentation, image)) for image, segmentation in cases]
    for _, segmentation in cases:
        _check(segmentation, values, references.dataset.name)
    left_out = list(without) or [""] * len(cases)
    chosen = [references.nearest(image, count, measure, name) for (image, _), name in zip(cases, left_out, strict=True)]
    pairs = [(references[subject][0], image) for (image, _), found in zip(cases, chosen) for subject, _ in found]
    transforms = iter(register_many(method, pairs, at_once))
    results = []
    for (_, segmentation), found in zip(cases, chosen):
        warped = [next(transforms).warp_labels(segmentation).array for _ in found]
        truths = [references[subject][1].array for subject, _ in found]
        rows = [label_dice(each, truth, values) for each, truth in zip(warped, truths, strict=True)]
        results.append(PredictedQuality(values, np.array(rows), tuple(subject for subject, _ in found)))
    return results


def label_dice(one: NDArray[np.integer], other: NDArray[np.integer], values: Sequence[int]) -> NDArray[np.float64]:
    """Dice of each label, ``(len(values),)``: 0 if one of the maps lacks it, NaN if both do."""
    masks = [(one == value, other == value) for value in values]
    return np.array([binary.dc(a, b) if a.any() or b.any() else np.nan for a, b in masks])


def spoiled(labels: Image, strength: float, seed: int) -> Image:
    """The label map, smoothly deformed: a worse segmentation, to test a prediction over the whole range of quality.

    Args:
        labels: a label map.
        strength: standard deviation of the displacement along each axis, as a fraction of the axis's length; 0 changes
            nothing.
        seed: seed of the random displacement, which has about three bumps per axis.

    Raises:
        UsageError: the strength is negative.
    """
    if not 0 <= strength < np.inf:
        raise UsageError(f"A segmentation is spoiled by a strength of at least 0. Received: strength={strength}.")
    shape = labels.grid.shape
    noise = smooth_noise(np.random.default_rng(seed), (labels.grid.rank,), shape, 3)
    displacement = np.moveaxis(noise, 0, -1) * (strength * np.array(shape, np.float32))
    return Image(warp_array(labels.array, displacement, order=0), labels.grid, kind="labels")


def _check(segmentation: Image, values: Sequence[int], name: str) -> None:
    """Raise `AcregError` unless a segmentation has some of these labels, and no others."""
    found = set(np.unique(segmentation.array).tolist()) - {0}
    problem = ""
    if not found:
        problem = "without foreground"
    elif not found <= set(values):
        problem = f"with labels {sorted(found - set(values))}, and {name} has {list(values)}"
    if problem:
        raise AcregError(
            "A segmentation to be judged has labels of the references, one at least. "
            f"Received: a segmentation {problem}. Correct the file, or choose other references."
        )


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The mean without NaN; 0 if all values are NaN: neither map has any label, which is no evidence of quality."""
    there = ~np.isnan(values)
    return np.where(there, values, 0).sum(axis=axis) / np.maximum(there.sum(axis=axis), 1)
