"""Mutual information: a loss on images ``(batch, *spatial, channels)`` of different contrast."""

from __future__ import annotations

import numpy as np
from keras import ops

from acreg.layers.tensor import Tensor


def mutual_information(fixed: Tensor, warped: Tensor, bins: int = 32, width: float = 0.5) -> Tensor:
    """Two minus the normalised mutual information, ``(batch,)``, in [0, 1].

    ``2 - (H(fixed) + H(warped)) / H(fixed, warped)`` with the entropies of the joint histogram of all voxels and
    channels of a sample. Each voxel is shared among the bins by a Gaussian window, so the histogram has a gradient.
    Images are expected in [0, 1]: the outermost bins are centred on 0 and 1 and take what lies beyond them, without a
    gradient where that is far beyond.

    The loss is 1 for images that tell nothing of each other, as every constant image does, and does not change when an
    image is inverted, ``1 - image``. An image has its lowest loss beside itself, but more than 0: the windows spread
    its joint histogram about the diagonal. Memory is two matrices of voxels x ``bins`` for a sample, and the same again
    for the gradient.

    Args:
        fixed, warped: see above.
        bins: along each axis of the histogram.
        width: standard deviation of the window, in bins. Narrower windows bring equal images nearer to 0 and leave the
            gradient less to see.

    Source: Studholme et al., Pattern Recognition 32, 1999, for the measure, which JRS-Net adds to its loss (eq. 2); its
    sign there is read as one that makes images alike.
    """
    a, b = (_windows(x, bins, width) for x in (fixed, warped))
    voxels = ops.cast(ops.shape(a)[1], "float32")
    joint = ops.matmul(ops.transpose(a, (0, 2, 1)), b) / voxels
    # Marginals of this histogram, not of the windows: what a GPU's product rounds off then cancels in the difference.
    of_both = _entropy(joint, (1, 2))
    shared = _entropy(ops.sum(joint, axis=2), 1) + _entropy(ops.sum(joint, axis=1), 1) - of_both
    return 1.0 - shared / ops.maximum(of_both, 1e-6)


def _windows(x: Tensor, bins: int, width: float) -> Tensor:
    """How much of each voxel falls into each bin: ``(batch, voxels, bins)``, each voxel's sum is 1."""
    x = ops.reshape(ops.cast(x, "float32"), (ops.shape(x)[0], -1, 1))
    away = (bins - 1) * x - np.arange(bins, dtype=np.float32)
    return ops.softmax(-0.5 * ops.square(away / width), axis=-1)


def _entropy(p: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    return -ops.sum(p * ops.log(ops.maximum(p, 1e-12)), axis=axes)
