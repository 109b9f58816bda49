"""Measures of a registration on NumPy arrays: overlap and surface distances of labels, similarity of images."""

from acreg.metrics.labels import (
    LABEL_METRICS,
    MAP_METRICS,
    centroids,
    is_lost,
    label_metrics,
    mean_over_labels,
    over_labels,
    union_box,
)
from acreg.metrics.similarity import (
    LOCAL_WINDOW,
    local_correlation,
    normalized_cross_correlation,
    normalized_mutual_information,
    structural_similarity,
)

__all__ = [
    "LABEL_METRICS",
    "LOCAL_WINDOW",
    "MAP_METRICS",
    "centroids",
    "is_lost",
    "label_metrics",
    "local_correlation",
    "mean_over_labels",
    "normalized_cross_correlation",
    "normalized_mutual_information",
    "over_labels",
    "structural_similarity",
    "union_box",
]
