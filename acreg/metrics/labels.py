"""Overlap and surface distances between two label maps, label by label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial import cKDTree

from acreg.errors import AcregError

MAP_METRICS = ("dsc", "hd", "hd95", "assd")
"""Dice similarity coefficient, Hausdorff distance, its 95th percentile, average symmetric surface distance."""
LABEL_METRICS = (*MAP_METRICS, "tre", "centroid_error", "tre_true", "lcc", "label_sd_log_j", "mask_dsc")
"""The same, and further metrics. The target registration error (TRE) is the distance between the centroids of the fixed
and of the warped label. The centroid error of the transform is the distance from the centroid of the moving label to
where the transform maps that of the fixed label. The TRE of the voxels of a label needs the true transform and is
present only if that is known. Inside the fixed label: the mean local correlation of the images (`local_correlation`)
and the standard deviation of the log-Jacobian determinant. The Dice of the mask that a method predicts with the fixed
foreground, for all labels together, and so the same for each label."""


Box = tuple[slice, ...]


def union_box(a: Box, b: Box, shape: Sequence[int], margin: int = 1) -> Box:
    """Smallest box that holds the boxes `a` and `b`, widened by `margin` elements but kept inside `shape`.

    With a margin of one, the surfaces and distances in the box are the same as in the full arrays.
    """
    return tuple(
        slice(max(min(i.start, j.start) - margin, 0), min(max(i.stop, j.stop) + margin, size))
        for i, j, size in zip(a, b, shape, strict=True)
    )


def label_metrics(
    warped_labels: np.ndarray,
    fixed_labels: np.ndarray,
    label_values: Sequence[int],
    spacing: float | Sequence[float] = 1.0,
) -> dict[int, dict[str, float]]:
    """Compare two label maps on one grid.

    Args:
        warped_labels: integer labels `(*spatial)`, the moving labels resampled on the fixed grid.
        fixed_labels: integer labels `(*spatial)`.
        label_values: the foreground labels to compare; 0 (background) is skipped.
        spacing: distance between neighbouring elements, one number or one per array axis (mm, or px).

    Returns:
        `{label: {"dsc", "hd", "hd95", "assd"}}`, as computed by medpy with face connectivity; distances are in the unit
        of `spacing`. A label that is in only one map has a Dice of 0 and NaN for distances; a label in neither map has
        NaN for all.

    Raises:
        AcregError: shapes differ, or the spacing is not positive or has the wrong length.
    """
    warped_labels, fixed_labels = np.asarray(warped_labels), np.asarray(fixed_labels)
    if warped_labels.shape != fixed_labels.shape:
        raise AcregError(
            "Label maps are compared on one grid. "
            f"Received: warped_labels of shape {warped_labels.shape}, fixed_labels of shape {fixed_labels.shape}. "
            "Resample one onto the grid of the other first (Transform.warp_labels does)."
        )
    steps = np.ravel(np.asarray(spacing, float)).tolist()
    if np.ndim(spacing) == 0:
        steps *= fixed_labels.ndim
    if len(steps) != fixed_labels.ndim or not all(np.isfinite(step) and step > 0 for step in steps):
        raise AcregError(
            "The spacing is one positive number, or one per array axis. "
            f"Received: spacing={spacing} for labels of shape {fixed_labels.shape}. Correct the spacing."
        )
    from medpy.metric.binary import dc  # imports a large part of SciPy

    results = {}
    for value, crop, alone in _crops(warped_labels, fixed_labels, label_values):
        if crop is None:
            results[value] = {**dict.fromkeys(MAP_METRICS, float("nan")), "dsc": 0.0 if alone else float("nan")}
            continue
        a, b = warped_labels[crop] == value, fixed_labels[crop] == value
        distances = np.concatenate([found for found, _ in _surface_distances(a, b, steps)])
        results[value] = {
            "dsc": float(dc(a, b)),
            "hd": float(distances.max()),
            "hd95": float(np.percentile(distances, 95)),
            "assd": float(distances.mean()),
        }
    return results


def hausdorff_point(
    warped_labels: np.ndarray, fixed_labels: np.ndarray, label_values: Sequence[int], spacing: Sequence[float]
) -> tuple[int, float, np.ndarray] | None:
    """Where the largest Hausdorff distance of the labels is attained, with the arguments of `label_metrics`.

    Returns:
        The label, the distance, and the index `(rank,)` of the voxel: the one on the label's surface in either map that
        is farthest from the surface in the other; the first of several. None if no label is in both maps.
    """
    largest: tuple[int, float, np.ndarray] | None = None
    for value, crop, _ in _crops(warped_labels, fixed_labels, label_values):
        if crop is None:
            continue
        start = [part.start for part in crop]
        for distances, voxels in _surface_distances(warped_labels[crop] == value, fixed_labels[crop] == value, spacing):
            at = int(distances.argmax())
            if largest is None or distances[at] > largest[1]:
                largest = value, float(distances[at]), voxels[at] + start
    return largest


def _crops(
    warped_labels: np.ndarray, fixed_labels: np.ndarray, label_values: Sequence[int]
) -> Iterator[tuple[int, Box | None, bool]]:
    """Each foreground label with the box around it in both maps, or None, and whether it is in one map alone."""
    values = [value for value in dict.fromkeys(map(int, label_values)) if value != 0]
    # One pass over each map finds every label's box, so that a volume with many labels is not scanned once per label.
    boxes = [ndimage.find_objects(numbered(labels, values), len(values)) for labels in (warped_labels, fixed_labels)]
    for value, a, b in zip(values, *boxes, strict=True):
        both = a is not None and b is not None
        yield value, union_box(a, b, fixed_labels.shape) if both else None, (a is None) != (b is None)


def numbered(labels: np.ndarray, label_values: Sequence[int]) -> np.ndarray:
    """The position of each voxel's label in `label_values`, starting at 1; 0 for other labels: int32 `(*spatial)`.

    SciPy's measures of labels create tables as long as the largest label, and some atlases have labels of hundreds of
    millions.

    Args:
        labels: integers `(*spatial)`.
        label_values: distinct labels.

    Raises:
        AcregError: a label occurs twice.
    """
    result = np.zeros(labels.shape, np.int32)
    if len(set(label_values)) < len(label_values):
        raise AcregError(f"Labels to measure are distinct. Received: label_values={list(label_values)}.")
    if len(label_values):
        order = np.argsort(label_values)
        ascending = np.asarray(label_values)[order]
        voxels = np.arange(labels.size) if 0 in label_values else np.flatnonzero(labels)
        drawn = labels.ravel()[voxels]
        at = np.minimum(np.searchsorted(ascending, drawn), len(order) - 1)
        result.ravel()[voxels] = np.where(ascending[at] == drawn, order[at] + 1, 0)
    return result


def _surface_distances(a: np.ndarray, b: np.ndarray, steps: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For either mask, the distance from each surface voxel to the other surface `(n,)`, and its index `(n, rank)`.

    The distances are those of medpy, which recomputes them for each metric.
    """
    voxels = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) for mask in (a, b)]
    points = [each * np.asarray(steps) for each in voxels]
    return [(cKDTree(points[1 - i]).query(points[i])[0], voxels[i]) for i in (0, 1)]


def mean_over_labels(per_label: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Unweighted mean of each metric over the labels that have a value; `labels` counts the labels with a Dice.

    A label that is in only one map counts as 0 in Dice and has no distances (`is_lost`). A pair without any label that
    has a value gives NaN and `labels` 0.
    """
    result: dict[str, float] = {}
    for metric in LABEL_METRICS:
        if metric not in MAP_METRICS and not any(metric in scores for scores in per_label.values()):
            continue
        values = np.array([scores.get(metric, np.nan) for scores in per_label.values()], float)
        values = values[np.isfinite(values)]
        result[metric] = float(values.mean()) if values.size else float("nan")
    result["labels"] = float(sum(np.isfinite(scores.get("dsc", np.nan)) for scores in per_label.values()))
    return result


def is_lost(scores: Mapping[str, float]) -> bool:
    """Whether the label with these metrics is in only one map: its Dice is 0 and it has no distances."""
    return bool(np.isfinite(scores.get("dsc", np.nan)) and not np.isfinite(scores.get("hd", np.nan)))


def over_labels(
    statistic: Callable[..., ArrayLike], values: np.ndarray, labels: np.ndarray, label_values: Sequence[int]
) -> dict[int, float]:
    """A statistic of the values at the voxels of each label; NaN for a label that is absent.

    Args:
        statistic: name of a function of `scipy.ndimage`: `mean`, `standard_deviation` (of the population) and so on.
        values, labels: arrays of the same shape.
        label_values: the labels wanted, distinct.
    """
    numbers = numbered(labels, label_values)
    found = np.full(len(label_values), np.nan)
    present = np.bincount(numbers.ravel(), minlength=len(label_values) + 1)[1:] > 0
    if present.any():
        with np.errstate(invalid="ignore"):  # SciPy divides for the absent labels, too
            found[present] = statistic(values, numbers, np.flatnonzero(present) + 1)
    return dict(zip(label_values, found.tolist(), strict=True))


def centroids(labels: np.ndarray, label_values: Sequence[int]) -> np.ndarray:
    """Mean index of the voxels of each label, `(len(label_values), rank)`; NaN for a label that is absent.

    Args:
        labels: integers `(*spatial)`.
        label_values: the labels wanted, distinct.
    """
    numbers = numbered(labels, label_values)
    with np.errstate(invalid="ignore"):
        found = ndimage.center_of_mass(np.ones(labels.shape, np.int8), numbers, range(1, len(label_values) + 1))
    return np.array(found, float).reshape(len(label_values), labels.ndim)
