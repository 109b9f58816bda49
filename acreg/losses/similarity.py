"""Dissimilarity of two images: losses on ``(batch, *spatial, channels)``, one value per sample."""

from __future__ import annotations

from keras import ops

from acreg.layers.tensor import Tensor


def _image_axes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(1, len(x.shape)))


def mean_squared_error(fixed: Tensor, warped: Tensor) -> Tensor:
    """Mean squared difference over voxels and channels, ``(batch,)``."""
    return ops.mean(ops.square(ops.cast(warped, "float32") - ops.cast(fixed, "float32")), axis=_image_axes(fixed))


def ncc(fixed: Tensor, warped: Tensor, epsilon: float = 1e-10) -> Tensor:
    """One minus the global normalised cross-correlation, ``(batch,)``, in [0, 2].

    The correlation is Pearson's over all voxels and channels of a sample. It is centred, so that it is 1 for an image
    with itself and does not change if an image becomes ``a * image + b`` with ``a > 0``. The paper minimises ``-NCC``,
    which differs by the constant 1. A constant image has correlation 0 and a finite gradient: the product of the
    variances is limited to at least ``epsilon``.

    Source: Mansilla et al., Learning deformable registration of medical images with anatomical constraints, eq. 2.
    """
    axes = _image_axes(fixed)
    fixed, warped = ops.cast(fixed, "float32"), ops.cast(warped, "float32")
    a = fixed - ops.mean(fixed, axis=axes, keepdims=True)
    b = warped - ops.mean(warped, axis=axes, keepdims=True)
    covariance = ops.mean(a * b, axis=axes)
    variances = ops.mean(ops.square(a), axis=axes) * ops.mean(ops.square(b), axis=axes)
    return 1.0 - covariance / ops.sqrt(ops.maximum(variances, epsilon))


def squared_ncc(fixed: Tensor, warped: Tensor) -> Tensor:
    """One minus the square of the global correlation, ``(batch,)``, in [0, 1]: also low for inverted contrast.

    Source: the joint affine and deformable network, eq. 1; the sums in its denominator are read as sums of squares.
    """
    return 1.0 - ops.square(1.0 - ncc(fixed, warped))


def _box_mean(x: Tensor, window: int) -> Tensor:
    """Mean over a window of ``window`` voxels along every spatial axis; at the border, over its part in the image."""
    rank = len(x.shape) - 2
    for axis in range(rank):
        size = tuple(window if a == axis else 1 for a in range(rank))
        x = ops.average_pool(x, pool_size=size, strides=1, padding="same", data_format="channels_last")
    return x


def local_ncc(fixed: Tensor, warped: Tensor, window: int = 9, epsilon: float = 1e-8) -> Tensor:
    """One minus the mean squared local correlation in windows of ``window`` voxels per side, ``(batch,)``, in [0, 1].

    ``mean_p cov(p)^2 / (var_fixed(p) var_warped(p) + epsilon)`` with statistics over the window around ``p`` (at the
    border, over the part inside the image), by one averaging pass per axis. Images are expected to span about [0, 1]:
    with the default ``epsilon``, windows whose standard deviation is well below 0.01 count as nearly uncorrelated, and
    constant windows as uncorrelated.

    Source: the local correlation of Avants et al., Medical Image Analysis 2008, as Balakrishnan et al. (VoxelMorph)
    use it.
    """
    fixed, warped = ops.cast(fixed, "float32"), ops.cast(warped, "float32")
    channels = fixed.shape[-1]
    # Centring first keeps E[x^2] - E[x]^2 from cancelling in float32.
    axes = _image_axes(fixed)
    a = fixed - ops.mean(fixed, axis=axes, keepdims=True)
    b = warped - ops.mean(warped, axis=axes, keepdims=True)
    means = _box_mean(ops.concatenate([a, b, a * a, b * b, a * b], axis=-1), window)
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (means[..., i * channels : (i + 1) * channels] for i in range(5))
    covariance = mean_ab - mean_a * mean_b
    variance_a = ops.maximum(mean_aa - mean_a * mean_a, 0.0)
    variance_b = ops.maximum(mean_bb - mean_b * mean_b, 0.0)
    return 1.0 - ops.mean(ops.square(covariance) / (variance_a * variance_b + epsilon), axis=axes)
