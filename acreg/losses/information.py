"""Mutual information: a loss on images ``(batch, *spatial, channels)`` of different contrast."""

from __future__ import annotations

import numpy as np
from keras import ops

from acreg.layers.tensor import Tensor


def mutual_information(fixed: Tensor, warped: Tensor, bins: int = 32, width: float = 0.5) -> Tensor:
    """Two minus the normalised mutual information, ``(batch,)``, in [0, 1].

    ``2 - (H(fixed) + H(warped)) / H(fixed, warped)`` with the entropies of the joint histogram of all voxels and
    channels of a sample. Each voxel is shared among the bins by a Gaussian window, so the histogram has a gradient.
    Images are expected in [0, 1]: the outermost bins are centred on 0 and 1 and also receive values beyond them,
    without a gradient if these are far beyond.

    The loss is 1 for images without information on each other, such as constant images, and does not change if an
    image is inverted, ``1 - image``. The loss is lowest between an image and itself, but greater than 0: the windows
    spread the joint histogram around the diagonal. It takes the memory of two matrices of voxels x ``bins`` per sample,
    and the same again for the gradient.

    Args:
        fixed, warped: see above.
        bins: along each axis of the histogram.
        width: standard deviation of the window, in bins. With narrower windows, the loss of equal images is closer to
            0, but the gradient carries less information.

    Source: Studholme et al., Pattern Recognition 32, 1999, for the measure, which JRS-Net adds to its loss (eq. 2); its
    sign there is interpreted so that minimising makes the images similar.
    """
    a, b = (_windows(x, bins, width) for x in (fixed, warped))
    voxels = ops.cast(ops.shape(a)[1], "float32")
    joint = ops.matmul(ops.transpose(a, (0, 2, 1)), b) / voxels
    # Marginals of this histogram, not of the windows: rounding errors of a GPU's product then cancel in the difference.
    of_both = _entropy(joint, (1, 2))
    shared = _entropy(ops.sum(joint, axis=2), 1) + _entropy(ops.sum(joint, axis=1), 1) - of_both
    return 1.0 - shared / ops.maximum(of_both, 1e-6)


def _windows(x: Tensor, bins: int, width: float) -> Tensor:
    """The share of each voxel in each bin: ``(batch, voxels, bins)``; the shares of a voxel add up to 1."""
    x = ops.reshape(ops.cast(x, "float32"), (ops.shape(x)[0], -1, 1))
    away = (bins - 1) * x - np.arange(bins, dtype=np.float32)
    return ops.softmax(-0.5 * ops.square(away / width), axis=-1)


def _entropy(p: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    return -ops.sum(p * ops.log(ops.maximum(p, 1e-12)), axis=axes)
