"""How unlike two label maps are: losses on one-hot probabilities ``(batch, *spatial, classes)``, one value a sample.

Class 0 is the background. ``warped`` is a linearly warped one-hot map: its values are probabilities, not logits.
"""

from __future__ import annotations

from typing import Any

from keras import ops


def cross_entropy(fixed: Any, warped: Any, epsilon: float = 0.01) -> Any:
    """Categorical cross-entropy of probabilities, mean over voxels, ``(batch,)``; 0 where they agree exactly.

    ``mean_p sum_c fixed_c(p) * (log(1 + epsilon) - log(warped_c(p) + epsilon))``. ``epsilon`` bounds the cost of a
    voxel that is surely wrong (4.6 for 0.01) without cutting off its gradient, as clipping would.

    Source: Mansilla et al., eq. 3. Their code fed the warped one-hot to a softmax as if it were logits, which keeps
    the loss above 0.744 for four classes.
    """
    fixed, warped = ops.cast(fixed, "float32"), ops.cast(warped, "float32")
    cost = ops.log(1.0 + epsilon) - ops.log(ops.maximum(warped, 0.0) + epsilon)
    return ops.mean(ops.sum(fixed * cost, axis=-1), axis=tuple(range(1, len(fixed.shape) - 1)))


def soft_dice(fixed: Any, warped: Any, smooth: float = 1.0) -> Any:
    """One minus the mean soft Dice over the classes but the background, ``(batch,)``.

    ``(2 sum(fixed * warped) + smooth) / (sum(fixed) + sum(warped) + smooth)`` for each class, over all voxels; a class
    that is empty in both counts as agreement.
    """
    axes = tuple(range(1, len(fixed.shape) - 1))
    fixed, warped = ops.cast(fixed[..., 1:], "float32"), ops.cast(warped[..., 1:], "float32")
    both = 2.0 * ops.sum(fixed * warped, axis=axes)
    total = ops.sum(fixed, axis=axes) + ops.sum(warped, axis=axes)
    return 1.0 - ops.mean((both + smooth) / (total + smooth), axis=-1)
