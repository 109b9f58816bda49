"""Similarity of two images."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError

COUNTED = 2**20
"""Approximate largest number of elements in the joint histogram of `normalized_mutual_information`."""
BINS = 32
"""Of each image in that histogram."""
LOCAL_WINDOW = 9
"""Voxels along each axis of the window of `local_correlation`."""


def normalized_cross_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two arrays of one shape, in [-1, 1]; 0 when either is constant.

    Raises:
        AcregError: shapes differ.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _check_shapes(a, b)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def normalized_mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Studholme's normalised mutual information of two arrays of one shape, in [1, 2]; 1 when either is constant.

    There are 32 x 32 bins between the 0.5 and 99.5 percentiles, which do not depend on a few bright voxels. Of more
    than `COUNTED` elements, only every second, third and so on along every axis is used.

    Raises:
        AcregError: shapes differ.

    Source: Studholme et al., Pattern Recognition 32, 1999, equation 4.
    """
    a, b = np.asarray(a), np.asarray(b)
    _check_shapes(a, b)
    step = int(np.ceil((a.size / COUNTED) ** (1 / max(a.ndim, 1))))
    values = [x[(slice(None, None, step),) * x.ndim].astype(np.float64) for x in (a, b)]
    for x in values:
        low, high = np.percentile(x, (0.5, 99.5))
        if low < high:
            np.clip(x, low, high, out=x)
        if np.ptp(x) == 0:
            return 1.0
    # As scikit-image computes it, whose import takes a sixth of a second.
    joint = np.histogram2d(values[0].ravel(), values[1].ravel(), bins=BINS)[0] / values[0].size
    one, other, both = (-float((p[p > 0] * np.log(p[p > 0])).sum()) for p in (joint.sum(1), joint.sum(0), joint))
    return (one + other) / both


def local_correlation(a: np.ndarray, b: np.ndarray, window: int = LOCAL_WINDOW) -> np.ndarray:
    """Pearson correlation of two images in the window around each voxel, `(*spatial)`, in [-1, 1].

    The window is a box of `window` voxels along every axis; at the border of the image, the part inside is used. The
    correlation is 0 where either image is constant in the window, that is, where its variance is below 1e-10 of the
    largest squared difference from the mean of the whole image.

    Args:
        a, b: images of one shape.
        window: odd.

    Raises:
        AcregError: shapes differ.

    Source: the measure that Lorenzi et al., NeuroImage 81 (2013) maximise with a Gaussian window and without centring,
    and that SVF-Net reports; here, in the windows of `acreg.losses.local_ncc`.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _check_shapes(a, b)
    # Centring first keeps E[x^2] - E[x]^2 from cancelling.
    a, b = a - a.mean(), b - b.mean()
    inside = _box_mean(np.ones(a.shape), window)
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (_box_mean(x, window) / inside for x in (a, b, a * a, b * b, a * b))
    variances = mean_aa - mean_a**2, mean_bb - mean_b**2
    varies = np.logical_and(*(v > 1e-10 * (x * x).max() for v, x in zip(variances, (a, b), strict=True)))
    correlation = np.zeros(a.shape)
    scale = np.sqrt(np.where(varies, variances[0] * variances[1], 1.0))
    np.divide(mean_ab - mean_a * mean_b, scale, out=correlation, where=varies)
    return np.clip(correlation, -1.0, 1.0)


def _box_mean(x: np.ndarray, window: int) -> np.ndarray:
    """Mean over the window, with zeros beyond the border."""
    return ndimage.uniform_filter(x, window, mode="constant")


def _check_shapes(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise AcregError(
            f"Images are compared on one grid. Received: shapes {a.shape} and {b.shape}. Resample one onto the other."
        )


def structural_similarity(fixed: np.ndarray, warped: np.ndarray) -> float:
    """Mean SSIM with a Gaussian window of standard deviation 1.5 voxels, over the intensity range of `fixed`.

    Computed by scikit-image. NaN if it is not defined: for a constant fixed image, or one smaller than the window of 11
    voxels.

    Raises:
        AcregError: shapes differ.

    Source: Wang et al., IEEE Transactions on Image Processing 13, 2004.
    """
    fixed, warped = np.asarray(fixed, np.float64), np.asarray(warped, np.float64)
    _check_shapes(fixed, warped)
    span = float(np.ptp(fixed))
    if span == 0 or min(fixed.shape) < 11:
        return float("nan")
    from skimage import metrics  # imports a large part of SciPy

    found = metrics.structural_similarity(
        fixed, warped, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(found)
