"""Similarity of two images."""

from __future__ import annotations

import numpy as np

from acreg.errors import AcregError


def normalized_cross_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two arrays of one shape, in [-1, 1]; 0 when either is constant.

    Raises:
        AcregError: shapes differ.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise AcregError(
            f"Images are compared on one grid. Received: shapes {a.shape} and {b.shape}. Resample one onto the other."
        )
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 0 else 0.0
