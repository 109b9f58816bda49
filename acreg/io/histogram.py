"""Standardisation of intensities by landmarks of the histogram.

Nyul and Udupa, On standardizing the MR image intensity scale, Magnetic Resonance in Medicine 42(6), 1999; with deciles
between the ends as in Nyul, Udupa and Zhang, IEEE Transactions on Medical Imaging 19(2), 2000. The landmarks of an
image are mapped to the mean landmarks of the training images, and intensities between them are interpolated linearly.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

LOWEST = 0.5
"""Percentile of the whole image that becomes 0: the background, if there is one."""
FOREGROUND = (10, 20, 30, 40, 50, 60, 70, 80, 90, 99.5)
"""Percentiles of the voxels that are brighter than the mean of the image; the last one becomes 1."""
LANDMARKS = 1 + len(FOREGROUND)


def landmarks_of(array: np.ndarray) -> np.ndarray | None:
    """The landmarks of an image `(*spatial)`: float64 `(LANDMARKS,)`, non-decreasing; None for a constant image."""
    low = float(np.percentile(array, LOWEST))
    foreground = array[array > array.mean(dtype=np.float64)]
    if foreground.size == 0:
        return None
    found = np.maximum([low, *np.percentile(foreground, FOREGROUND)], low)
    constant = found[-1] - low <= 1e-6 * max(abs(low), abs(found[-1]))  # a smaller range is rounding
    return None if constant else found


def mean_landmarks(arrays: Iterable[np.ndarray]) -> list[float]:
    """The mean landmarks of images, each first scaled to begin with 0 and end with 1; constant images are left out.

    Raises:
        ValueError: all images are constant.
    """
    found = [landmarks for array in arrays if (landmarks := landmarks_of(array)) is not None]
    if not found:
        raise ValueError("all images are constant")
    return np.mean([(x - x[0]) / (x[-1] - x[0]) for x in found], axis=0).tolist()


def standardise(array: np.ndarray, landmarks: list[float]) -> np.ndarray:
    """An image `(*spatial)` with its landmarks mapped to `landmarks`: float32 in [0, 1]; zeros for a constant image.

    Values beyond the ends are clipped. The map is non-decreasing, and the result is the same for `a * array + b` with a
    > 0.
    """
    own = landmarks_of(array)
    if own is None:
        return np.zeros(array.shape, np.float32)
    return np.interp(array, own, landmarks).astype(np.float32)
