"""One registration of a pair: its time, and its scores."""

from __future__ import annotations

import time
from typing import Any

from scipy import ndimage

from acreg.evaluation.scoring import centroid_errors, true_errors
from acreg.geometry import Transform, folding, jacobian_determinant, log_determinant
from acreg.metrics import label_metrics, mean_over_labels, over_labels
from acreg.registration.methods import Method, Unregistered
from benchmarks.any_pair_sets import Case
from benchmarks.worker import cpu_seconds

LOST = 0.2
"""Dice below which a pair is lost."""
METRICS = ("dice", "hd95", "tre", "folded_percent", "label_sd_log_j")
"""The scores of a pair, as `score` returns them."""


def score(transform: Transform, case: Case) -> dict[str, float]:
    """Dice, HD95 and TRE in mm, and the regularity of the transform on the fixed grid.

    Label scores are unweighted means over the labels of the case; one that vanishes has a Dice of 0 and no distance.
    TRE is the distance of landmarks, or from the true transform if that is known; NaN without either. The standard
    deviation of the log-Jacobian is that within each fixed label.
    """
    sampled = transform.sampled()
    warped = sampled.warp_labels(case.moving_labels)
    spacing = case.fixed.grid.spacing
    labels = label_metrics(warped.array, case.fixed_labels.array, case.values, spacing)
    found = {}
    if case.truth is not None:
        found["tre_true"] = true_errors(sampled, case.truth, case.fixed_labels, case.values)
    displacement = sampled.displacement
    log_j = log_determinant(jacobian_determinant(displacement))
    found["label_sd_log_j"] = over_labels(ndimage.standard_deviation, log_j, case.fixed_labels.array, case.values)
    for metric, values in found.items():
        for label, value in values.items():
            labels[label][metric] = value
    mean = mean_over_labels(labels)
    tre = mean.get("tre_true", float("nan"))
    if case.landmarks:
        errors = centroid_errors(transform, case.fixed_labels, case.moving_labels, case.landmarks)
        tre = sum(errors.values()) / len(errors)
    return {
        "dice": mean["dsc"],
        "hd95": mean["hd95"],
        "tre": tre,
        "folded_percent": folding(displacement)["folded_percent"],
        "label_sd_log_j": mean["label_sd_log_j"],
    }


def registered(method: Method, case: Case) -> dict[str, Any]:
    """Register and score a case: CPU and wall seconds of the registration, and `score`, or the reason of a failure.

    CPU seconds are those of this process, of the programs that it ran, and what the method reports as `elsewhere`:
    those in a process that goes on.
    """
    start, cpu = time.perf_counter(), cpu_seconds()
    transform, failure = None, ""
    try:
        transform = method.register(fixed=case.fixed, moving=case.moving)
    except Exception as error:  # any error of a method is a failure on this pair, which the page reports
        failure = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    used = cpu_seconds() - cpu + getattr(method, "elsewhere", 0.0)
    result: dict[str, Any] = {"cpu_seconds": used, "seconds": time.perf_counter() - start, "failure": failure}
    if transform is not None:
        scores = score(transform, case)
        if isinstance(method, Unregistered):  # its field is meaningless
            scores |= dict.fromkeys(("folded_percent", "label_sd_log_j"), float("nan"))
        result["scores"] = {name: value if value == value else None for name, value in scores.items()}
    return result
