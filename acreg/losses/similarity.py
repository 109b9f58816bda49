"""Dissimilarity of two images: losses on ``(batch, *spatial, channels)``, one value per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from numbers import Integral

from keras import ops

from acreg.layers.boxes import box_counts, box_sum
from acreg.layers.compiled import compiled
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


def local_ncc(
    fixed: Tensor,
    warped: Tensor,
    window: int | Sequence[int] = 9,
    epsilon: float = 1e-8,
    *,
    weights: Tensor | None = None,
) -> Tensor:
    """One minus the mean squared local correlation in windows of ``window`` voxels per side, ``(batch,)``, in [0, 1].

    ``mean_p cov(p)^2 / (var_fixed(p) var_warped(p) + epsilon)`` with statistics over the window around ``p`` (at the
    border, over the part inside the image), by sums over boxes that are its gradient's, too. Images are expected to
    span about [0, 1]: with the default ``epsilon``, windows whose standard deviation is well below 0.01 count as nearly
    uncorrelated, and constant windows as uncorrelated.

    Args:
        fixed, warped: ``(batch, *spatial, channels)``.
        window: voxels, one number or one for each spatial axis, for anisotropic voxels.
        epsilon: see above.
        weights: ``(batch, *spatial, 1)``, not negative. The statistics of a window and the mean over the windows are
            then weighted means; what has weight 0 does not influence the result, whatever its values are. They have
            no gradient. A sample whose weights are all 0 has the value 1.

    Raises:
        ValueError: a window that is not a positive whole number, or not as many as spatial axes.

    Source: the local correlation of Avants et al., Medical Image Analysis 2008, as Balakrishnan et al. (VoxelMorph)
    use it.
    """
    rank = len(fixed.shape) - 2
    windows = tuple(window) if isinstance(window, Sequence) else (window,) * rank
    if len(windows) != rank or not all(isinstance(n, Integral) and n > 0 for n in windows):
        raise ValueError(
            f"The window of local NCC must be a positive whole number of voxels, or one for each of the {rank} spatial "
            f"axes. Received: window={window!r}"
        )
    given = (fixed, warped) if weights is None else (fixed, warped, weights)
    return _local_ncc(tuple(map(int, windows)), float(epsilon))(*(ops.cast(x, "float32") for x in given))


class _Windows:
    """Means over windows, of images as ``(batch, channels, *spatial)``, so that XLA's loops run along an image axis.

    Args:
        window: voxels, for each spatial axis.
        images: fixed, warped and, where given, their weights, ``(batch, *spatial, channels)``.
    """

    def __init__(self, window: tuple[int, ...], images: Sequence[Tensor]) -> None:
        self.window = window
        rank = len(window)
        fixed, warped, *weights = (ops.transpose(x, (0, rank + 1, *range(1, rank + 1))) for x in images)
        self.axes = _image_axes(fixed)
        self.weights = weights[0] if weights else None
        # Centring keeps E[x^2] - E[x]^2 from cancelling in float32; the result does not depend on it.
        self.a, self.b = (x - self.mean(x) for x in map(self._visible, (fixed, warped)))

    def _visible(self, x: Tensor) -> Tensor:
        return x if self.weights is None else ops.where(self.weights > 0, x, ops.cast(0.0, "float32"))

    def weighted(self, x: Tensor) -> Tensor:
        return x if self.weights is None else self.weights * x

    def mean(self, x: Tensor) -> Tensor:
        """The mean over a sample, ``(batch, 1, ...)``."""
        if self.weights is None:
            return ops.mean(x, axis=self.axes, keepdims=True)
        return ops.sum(self.weights * x, axis=self.axes, keepdims=True) / self.total(x)

    def total(self, x: Tensor) -> Tensor | float:
        """The weight of all voxels and channels of a sample."""
        if self.weights is None:
            return ops.cast(math.prod(ops.shape(x)[1:]), "float32")
        voxels = ops.sum(self.weights, axis=self.axes, keepdims=True)
        return ops.maximum(voxels, 1e-12) * x.shape[1]

    def sums(self) -> list[Tensor]:
        """Sums over the windows: of a, b, a^2, b^2 and a b, and of the weights where there are any."""
        a, b = self.a, self.b
        found = [box_sum(self.weighted(x), self.window) for x in (a, b, a * a, b * b, a * b)]
        return found if self.weights is None else [*found, box_sum(self.weights, self.window)]

    def divided(self, x: Tensor, sums: Sequence[Tensor]) -> Tensor:
        """Divided by the sum of the weights of each window."""
        if self.weights is not None:
            return x / ops.maximum(sums[5], 1e-12)
        return x / math.prod(box_counts(x, self.window))

    def statistics(self, sums: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """For each window: means of a and b, their covariance and their variances."""
        a, b, aa, bb, ab = (self.divided(x, sums) for x in sums[:5])
        return a, b, ab - a * b, ops.maximum(aa - a * a, 0.0), ops.maximum(bb - b * b, 0.0)


@lru_cache(maxsize=16)
def _local_ncc(window: tuple[int, ...], epsilon: float) -> Callable[..., Tensor]:
    """Local NCC as a function of fixed, warped and perhaps weights, in float32, with its own gradient.

    With ``D = var_a var_b + epsilon``, ``A = 2 cov / D`` and ``B = A cov var_a / D``, each divided by the number of
    voxels of its window, the derivative of ``cov^2 / D``, summed over the windows, with respect to b is
    ``a box(A) - b box(B) - box(A mean_a - B mean_b)``.

    The gradient uses the sums over windows of the forward pass. There is one function for each image, so that a graph
    does not compute what it does not need.
    """

    def value(*images: Tensor) -> tuple[Tensor, ...]:
        windows = _Windows(window, images)
        sums = windows.sums()
        _, _, covariance, variance_a, variance_b = windows.statistics(sums)
        squares = windows.mean(ops.square(covariance) / (variance_a * variance_b + epsilon))
        return (1.0 - ops.reshape(squares, (-1,)), *sums)

    def gradient_of(image: int) -> Callable[..., Tensor]:
        def gradient(images: Sequence[Tensor], sums: Sequence[Tensor], upstream: Tensor) -> Tensor:
            windows = _Windows(window, images)
            mean_a, mean_b, covariance, variance_a, variance_b = windows.statistics(sums)
            a, b = windows.a, windows.b
            if image == 0:
                a, b, mean_a, mean_b, variance_a, variance_b = b, a, mean_b, mean_a, variance_b, variance_a
            inverse = 1.0 / (variance_a * variance_b + epsilon)
            along_a = windows.divided(windows.weighted(2.0 * covariance * inverse), sums)
            along_b = ops.where(variance_b > 0.0, along_a * covariance * variance_a * inverse, 0.0)
            rest = along_a * mean_a - along_b * mean_b
            along_a, along_b, rest = (box_sum(x, window, mirrored=True) for x in (along_a, along_b, rest))
            scale = -ops.reshape(upstream, (-1,) + (1,) * (len(window) + 1)) / windows.total(a)
            slope = scale * windows.weighted(a * along_a - b * along_b - rest)
            return ops.transpose(slope, (0, *range(2, len(window) + 2), 1))

        return gradient

    forward, along_fixed, along_warped = (compiled(f) for f in (value, gradient_of(0), gradient_of(1)))

    @ops.custom_gradient
    def loss(*images: Tensor) -> tuple[Tensor, Callable[..., tuple[Tensor, ...]]]:
        found, *sums = forward(*images)

        def gradient(*arguments: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, ...]:
            given = arguments[0] if upstream is None else upstream
            slopes = along_fixed(images, sums, given), along_warped(images, sums, given)
            return (*slopes, *(ops.zeros_like(x) for x in images[2:]))

        return found, gradient

    return loss
