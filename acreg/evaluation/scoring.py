"""Scores for the registration of one pair."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy import ndimage

from acreg.data.tables.pair_files import Pair
from acreg.errors import images_by_name
from acreg.evaluation.method_result import PairScores
from acreg.geometry import Transform, jacobian_determinant, labels_on, log_determinant
from acreg.geometry.displacement import SLAB_VOXELS
from acreg.io import Image
from acreg.metrics import (
    LOCAL_WINDOW,
    centroids,
    label_metrics,
    local_correlation,
    normalized_cross_correlation,
    over_labels,
    structural_similarity,
    union_box,
)
from acreg.registration.methods import Method, Unregistered
from acreg.registration.pair import Registration, register_pair

Labelled = tuple[Image, Image | None]
"""An image and its labels, which lie on its grid (`acreg.geometry.labels_on`); None if there are none."""


@images_by_name
def score_pair(
    method: Method,
    names: Pair,
    *,
    fixed: Labelled,
    moving: Labelled,
    label_values: Sequence[int],
    truth: Transform | None = None,
) -> tuple[PairScores, Registration | None]:
    """Register a pair and measure, on the fixed image's grid and in its unit.

    Args:
        method: the method to score.
        names: names of the fixed and of the moving subject, for the record.
        fixed, moving: images and labels; unless both have labels, only the images and the field are measured.
        label_values: the labels to measure, with or without the background, 0.
        truth: the true transform from fixed to moving, if known. Each label then has a "tre_true": the mean
            distance between the points to which the predicted and the true transform map the label's voxels in the
            fixed image.

    Returns:
        The scores and the registration; if the method raised an error, None instead of the registration, and the reason
        in `failure`. In addition to the metrics of `label_metrics`, a label has "tre" (`target_registration_errors`),
        "centroid_error" (`centroid_errors`), "lcc" (`local_correlations`) and, unless the method is `Unregistered`,
        "label_sd_log_j": the standard deviation of the log-Jacobian determinant of the predicted transform over the
        voxels of the fixed label, with folded voxels as in `sd_log_j` (see `acreg.geometry.folding`); for a method that
        segments, also "mask_dsc".

    Raises:
        AcregError: labels or a true transform do not match the images.
    """
    (fixed_image, fixed_labels), (moving_image, moving_labels) = (
        (image, None if labels is None else labels_on(labels, image)) for image, labels in (fixed, moving)
    )
    scores = PairScores(*names)
    try:
        registration = register_pair(
            method, fixed=fixed_image, moving=moving_image, moving_labels=moving_labels, fixed_mask=fixed_labels
        )
        regularity = registration.regularity
        scores.folded_percent, scores.sd_log_j = regularity["folded_percent"], regularity["sd_log_j"]
        scores.ncc = normalized_cross_correlation(fixed_image.array, registration.warped.array)
        scores.verdict = registration.verdict or ""
        if registration.inverse_error is not None:
            scores.inverse_error = registration.inverse_error.p95
        scores.unlikeness = max(registration.unlikeness.values(), default=None)
        scores.concerns = tuple(concern.name for concern in registration.concerns)
        scores.ssim = structural_similarity(fixed_image.array, registration.warped.array)
    except Exception as error:  # any error of a method is a failure on this pair, not of the evaluation
        scores.failure = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return scores, None
    scores.seconds = registration.seconds
    if registration.warped_labels is not None and fixed_labels is not None and moving_labels is not None:
        scores.labels = label_metrics(
            registration.warped_labels.array, fixed_labels.array, label_values, fixed_labels.grid.spacing
        )
        found = {"tre": target_registration_errors(fixed_labels, registration.warped_labels, scores.labels)}
        found["centroid_error"] = centroid_errors(registration.transform, fixed_labels, moving_labels, scores.labels)
        if truth is not None:
            found["tre_true"] = true_errors(registration.transform, truth, fixed_labels, scores.labels)
        found["lcc"] = local_correlations(fixed_image, registration.warped, fixed_labels, scores.labels)
        if registration.mask is not None:
            foreground = np.isin(fixed_labels.array, list(scores.labels)).astype(int)
            own = label_metrics(registration.mask.array, foreground, [1], fixed_labels.grid.spacing)[1]["dsc"]
            found["mask_dsc"] = dict.fromkeys(scores.labels, own)
        if not isinstance(method, Unregistered):  # its field is meaningless
            log_j = log_determinant(jacobian_determinant(registration.sampled.displacement))
            labels = list(scores.labels)
            found["label_sd_log_j"] = over_labels(ndimage.standard_deviation, log_j, fixed_labels.array, labels)
        for metric, values in found.items():
            for label, value in values.items():
                scores.labels[label][metric] = value
    return scores, registration


def target_registration_errors(fixed: Image, warped: Image, labels: Collection[int]) -> dict[int, float]:
    """Distance of the centroids of each label in the fixed and in the warped labels, in the unit of the fixed image.

    NaN for a label that one of them lacks.

    Source: Pérez de Frutos et al., Learning deep abdominal CT registration through adaptive loss weighting and
    synthetic data generation, PLOS ONE 2023, "Evaluation metrics".
    """
    values = list(labels)
    mine, theirs = (image.grid.to_world(centroids(image.array, values)) for image in (fixed, warped))
    return dict(zip(values, np.linalg.norm(mine - theirs, axis=1).tolist(), strict=True))


def centroid_errors(transform: Transform, fixed: Image, moving: Image, labels: Collection[int]) -> dict[int, float]:
    """Distance in the moving image, in its unit, of the mapped centroid of a fixed label from the moving centroid."""
    values = list(labels)
    mine, theirs = (image.grid.to_world(centroids(image.array, values)) for image in (fixed, moving))
    found = np.full(mine.shape, np.nan)
    present = np.isfinite(mine).all(axis=1)
    found[present] = transform.warp_points(mine[present], to="moving")
    return dict(zip(values, np.linalg.norm(found - theirs, axis=1).tolist(), strict=True))


def true_errors(transform: Transform, truth: Transform, fixed: Image, labels: Collection[int]) -> dict[int, float]:
    """Mean distance, in the unit of the moving image, between the points to which both map a fixed label's voxels.

    NaN for a label that the fixed image lacks.
    """
    values = list(labels)
    voxels = np.argwhere(np.isin(fixed.array, values))
    distances = np.empty(len(voxels))
    for start in range(0, len(voxels), SLAB_VOXELS):
        part = slice(start, start + SLAB_VOXELS)
        points = fixed.grid.to_world(voxels[part])
        apart = transform.warp_points(points, to="moving") - truth.warp_points(points, to="moving")
        distances[part] = np.linalg.norm(apart, axis=1)
    of = fixed.array[tuple(voxels.T)]
    return over_labels(ndimage.mean, distances, of, values)


def local_correlations(fixed: Image, warped: Image, labels: Image, wanted: Collection[int]) -> dict[int, float]:
    """Mean over a fixed label's voxels of the local correlation of the two images (`acreg.metrics.local_correlation`).

    NaN for a label that the fixed image lacks.
    """
    values = list(wanted)
    boxes = ndimage.find_objects(np.isin(labels.array, values).astype(np.int8))
    if not boxes:
        return dict.fromkeys(values, float("nan"))
    # With half a window around the labels, nothing changes inside them.
    box = union_box(boxes[0], boxes[0], labels.array.shape, margin=LOCAL_WINDOW // 2)
    correlation = local_correlation(fixed.array[box], warped.array[box])
    return over_labels(ndimage.mean, correlation, labels.array[box], values)
