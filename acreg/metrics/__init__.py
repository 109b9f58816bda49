"""Measures of a registration in NumPy arrays: overlap and surface distances of labels, similarity of images."""

from acreg.metrics.labels import LABEL_METRICS, MAP_METRICS, centroids, label_metrics, mean_over_labels, union_box
from acreg.metrics.similarity import normalized_cross_correlation, structural_similarity

__all__ = [
    "LABEL_METRICS",
    "MAP_METRICS",
    "centroids",
    "label_metrics",
    "mean_over_labels",
    "normalized_cross_correlation",
    "structural_similarity",
    "union_box",
]
