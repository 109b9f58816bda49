"""Structural similarity: losses on images ``(batch, *spatial, channels)``, one value per sample."""

from __future__ import annotations

import numpy as np
from keras import ops

from acreg.layers.tensor import Tensor

SIGMA = 1.5
HALF_WIDTH = 5  # of the window, which is 11 voxels wide: the Gaussian is cut at 3.5 sigma
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST = 0.05


def ssim(fixed: Tensor, warped: Tensor, data_range: float = 1.0) -> Tensor:
    """One minus the mean structural similarity, ``(batch,)``, in [0, 2].

    ``(2 m_f m_w + c1) (2 cov + c2) / ((m_f^2 + m_w^2 + c1) (var_f + var_w + c2))`` under a Gaussian window of sigma 1.5
    and 11 voxels per side, with the mean over the windows inside the image and over channels; ``c1`` and ``c2`` are
    the squares of 0.01 and 0.03 times ``data_range``. This equals scikit-image's
    ``structural_similarity(gaussian_weights= True, sigma=1.5, use_sample_covariance=False)``, which refuses images with
    fewer than 11 voxels along an axis; here, the window is reduced along such an axis to the largest odd number of
    voxels that fits.

    Args:
        fixed, warped: see above.
        data_range: the difference between the largest and the smallest possible value of an image.

    Raises:
        ValueError: a size is not known when the training step is traced.

    Source: Wang et al., IEEE TIP 2004.
    """
    _check_sizes("ssim", fixed)
    _, similarity = _statistics(ops.cast(fixed, "float32"), ops.cast(warped, "float32"), data_range)
    return 1.0 - ops.mean(similarity, axis=-1)


def ms_ssim(fixed: Tensor, warped: Tensor, data_range: float = 1.0) -> Tensor:
    """One minus the multi-scale structural similarity, ``(batch,)``, in [0, 1].

    ``prod_j cs_j^w_j``: at each scale, ``cs_j`` is the mean of the contrast and structure factor of `ssim`; at the
    coarsest scale, it is the mean of the complete `ssim`. Each scale is the next finer one averaged over blocks of 2
    voxels along every axis. The number of scales, at most the five of the paper, is such that the shortest axis has at
    least the 11 voxels of the window (5 scales from 176 voxels, 4 from 88, 3 from 44, 2 from 22); the weights of the
    paper are normalised to sum to one. The result is the mean over channels.

    A power of a negative mean is not defined, and clipping the mean at 0 would leave dissimilar images
    without a gradient. Below 0.05, the mean ``x`` is replaced by ``0.05^2 / (0.1 - x)``, which is positive, continues
    it smoothly, and always has a gradient.

    Args, errors: as `ssim`.

    Source: Wang et al., Asilomar 2003, eq. 7.
    """
    _check_sizes("ms_ssim", fixed)
    fixed, warped = ops.cast(fixed, "float32"), ops.cast(warped, "float32")
    count = scales(min(fixed.shape[1:-1]))
    weights = np.array(SCALE_WEIGHTS[:count]) / sum(SCALE_WEIGHTS[:count])
    log = 0.0
    for scale, weight in enumerate(weights.tolist()):
        if scale:
            fixed, warped = _halve(fixed), _halve(warped)
        structure, similarity = _statistics(fixed, warped, data_range)
        mean = similarity if scale == count - 1 else structure
        log = log + weight * ops.log(_positive(mean))
    return 1.0 - ops.mean(ops.exp(log), axis=-1)


def scales(size: int) -> int:
    """The number of scales of `ms_ssim` for images whose shortest axis has ``size`` voxels."""
    count = 1
    while count < len(SCALE_WEIGHTS) and size // 2**count >= 2 * HALF_WIDTH + 1:
        count += 1
    return count


def _statistics(fixed: Tensor, warped: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Mean over windows of the contrast and structure factor and of the complete SSIM, each ``(batch, channels)``."""
    channels = fixed.shape[-1]
    axes = tuple(range(1, len(fixed.shape) - 1))
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    # Centring first keeps E[x^2] - E[x]^2 from cancelling in float32.
    centre_f, centre_w = (ops.mean(x, axis=axes, keepdims=True) for x in (fixed, warped))
    a, b = fixed - centre_f, warped - centre_w
    blurred = _blur(ops.concatenate([a, b, a * a + b * b, a * b], axis=-1))
    mean_a, mean_b, squares, product = (blurred[..., i * channels : (i + 1) * channels] for i in range(4))
    variances = squares - mean_a * mean_a - mean_b * mean_b
    structure = (2.0 * (product - mean_a * mean_b) + c2) / (variances + c2)
    mean_f, mean_w = mean_a + centre_f, mean_b + centre_w
    luminance = (2.0 * mean_f * mean_w + c1) / (mean_f * mean_f + mean_w * mean_w + c1)
    return ops.mean(structure, axis=axes), ops.mean(luminance * structure, axis=axes)


def _blur(x: Tensor) -> Tensor:
    """Gaussian means in the windows inside the image.

    They are weighted sums of rolled arrays, without the ends that are rolled in. With its gradient, this is six times
    as fast as sums of slices on a CPU. It is exact in float32 on a GPU, where TensorFlow's matrix products and
    convolutions may round to ten bits, which is too few for a variance, a difference of squares.
    """
    inside = [slice(None)]
    for axis in range(1, len(x.shape) - 1):
        half = min(HALF_WIDTH, (x.shape[axis] - 1) // 2)
        weights = np.exp(-0.5 * (np.arange(half + 1) / SIGMA) ** 2)
        weights /= weights[0] + 2.0 * weights[1:].sum()
        total = float(weights[0]) * x
        for i in range(1, half + 1):
            total = total + float(weights[i]) * (ops.roll(x, i, axis) + ops.roll(x, -i, axis))
        x = total
        inside.append(slice(half, x.shape[axis] - half))
    return x[tuple(inside)]


def _halve(x: Tensor) -> Tensor:
    return ops.average_pool(x, pool_size=2, strides=2, padding="valid", data_format="channels_last")


def _positive(x: Tensor) -> Tensor:
    return ops.where(x > SMALLEST, x, SMALLEST**2 / (2.0 * SMALLEST - ops.minimum(x, SMALLEST)))


def _check_sizes(name: str, x: Tensor) -> None:
    if None in tuple(x.shape[1:]):
        raise ValueError(
            f"`{name}` must know the images' size and channels when the training step is traced. "
            f"Received: fixed.shape={tuple(x.shape)}. Train on images of one size."
        )
