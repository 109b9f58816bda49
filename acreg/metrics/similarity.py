"""Similarity of two images."""

from __future__ import annotations

import numpy as np
from skimage import metrics

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


def structural_similarity(fixed: np.ndarray, warped: np.ndarray) -> float:
    """Mean SSIM with a Gaussian window of standard deviation 1.5 voxels, over the intensity range of `fixed`.

    By scikit-image. NaN where it has no value: a constant fixed image, or one smaller than the window of 11 voxels.

    Raises:
        AcregError: shapes differ.

    Source: Wang et al., IEEE Transactions on Image Processing 13, 2004.
    """
    fixed, warped = np.asarray(fixed, np.float64), np.asarray(warped, np.float64)
    if fixed.shape != warped.shape:
        raise AcregError(
            f"Images are compared on one grid. Received: shapes {fixed.shape} and {warped.shape}. Resample one onto "
            "the other."
        )
    span = float(np.ptp(fixed))
    if span == 0 or min(fixed.shape) < 11:
        return float("nan")
    found = metrics.structural_similarity(
        fixed, warped, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(found)
