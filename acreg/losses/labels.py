"""Dissimilarity of two label maps: losses on one-hot probabilities ``(batch, *spatial, classes)``, one per sample.

Class 0 is the background. ``warped`` is a linearly warped one-hot map: its values are probabilities, not logits.
"""

from __future__ import annotations

from keras import ops

from acreg.layers.tensor import Tensor


def cross_entropy(fixed: Tensor, warped: Tensor, epsilon: float = 0.01) -> Tensor:
    """Categorical cross-entropy of probabilities, mean over voxels, ``(batch,)``; 0 where they agree exactly.

    ``mean_p sum_c fixed_c(p) * (log(1 + epsilon) - log(warped_c(p) + epsilon))``. ``epsilon`` bounds the cost of a
    completely wrong voxel (4.6 for 0.01) without removing its gradient, as clipping would.

    Source: Mansilla et al., eq. 3. Their code passes the warped one-hot to a softmax as if it were logits, which keeps
    the loss above 0.744 for four classes.
    """
    fixed, warped = ops.cast(fixed, "float32"), ops.cast(warped, "float32")
    cost = ops.log(1.0 + epsilon) - ops.log(ops.maximum(warped, 0.0) + epsilon)
    return ops.mean(ops.sum(fixed * cost, axis=-1), axis=tuple(range(1, len(fixed.shape) - 1)))


def soft_dice(fixed: Tensor, warped: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the mean soft Dice over all classes except the background, ``(batch,)``.

    ``(2 sum(fixed * warped) + smooth) / (sum(fixed) + sum(warped) + smooth)`` for each class, over all voxels, then the
    unweighted mean over the classes that are present: a class that is empty in both maps is not an agreement and is
    left out. If no class is present, the loss is 0.
    """
    dice, there = _dice(fixed, warped, smooth)
    return ops.sum(there * (1.0 - dice), axis=-1) / ops.maximum(ops.sum(there, axis=-1), 1.0)


def log_dice(fixed: Tensor, warped: Tensor, smooth: float = 1.0) -> Tensor:
    """Minus the mean logarithm of the soft Dice over all classes except the background, ``(batch,)``.

    Classes and ``smooth`` are those of `soft_dice`. The gradient of a class is the gradient of its Dice divided by the
    Dice: labels that hardly overlap have the largest gradients, whereas `soft_dice` weights all labels equally. A class
    of n voxels in both maps without any overlap costs ``log(1 + 2 n / smooth)``, which is finite.

    Source: Mahapatra et al., Joint registration and segmentation of X-ray images using generative adversarial networks,
    eq. 4, whose logarithm has a plus sign in a loss; here it has the sign with which minimising increases the Dice.
    """
    dice, there = _dice(fixed, warped, smooth)
    return -ops.sum(there * ops.log(dice), axis=-1) / ops.maximum(ops.sum(there, axis=-1), 1.0)


def _dice(fixed: Tensor, warped: Tensor, smooth: float) -> tuple[Tensor, Tensor]:
    """The soft Dice of each foreground class, and 1 for classes that are present: each ``(batch, classes - 1)``."""
    axes = tuple(range(1, len(fixed.shape) - 1))
    fixed, warped = ops.cast(fixed[..., 1:], "float32"), ops.cast(warped[..., 1:], "float32")
    both = 2.0 * ops.sum(fixed * warped, axis=axes)
    total = ops.sum(fixed, axis=axes) + ops.sum(warped, axis=axes)
    return (both + smooth) / (total + smooth), ops.cast(total > 0, "float32")


def hausdorff_erosion(fixed: Tensor, warped: Tensor, alpha: float = 2.0, erosions: int = 10) -> Tensor:
    """The thickness of the differences between two label maps, ``(batch,)``: a Hausdorff distance with a gradient.

    The squared difference of each class except the background is eroded repeatedly; the loss is ``sum_k k^alpha
    mean(eroded_k)`` over ``k = 1 ... erosions``, with the mean over voxels and classes of what remains. An erosion
    takes the mean over a voxel and its neighbours along the axes, keeps the part above one half and scales it back to
    [0, 1]; outside the image, the difference is 0.

    Differences that are one or two voxels thick vanish after the first erosions and have little or no gradient: use
    this loss together with `soft_dice` or `cross_entropy`, never alone. Differences that are too thick for the erosions
    to remove count only by their volume. Memory grows linearly with ``erosions``.

    Args:
        fixed, warped: see above.
        alpha: how much more thick differences count; 2 in the paper.
        erosions: number of erosions; each removes about half a voxel from a plane side, so that ten remove a layer of
            ten voxels.

    Source: Karimi & Salcudean, Reducing the Hausdorff distance in medical image segmentation with convolutional neural
    networks, IEEE TMI 2020: the form with erosions. DDMR thresholded by a sign, whose gradient is zero.
    """
    error = ops.square(ops.cast(fixed[..., 1:], "float32") - ops.cast(warped[..., 1:], "float32"))
    values = ops.cast(ops.prod(ops.shape(error)[1:]), "float32")
    # One layer of zeros at the end of each axis serves as the outside on both sides, because rolling is cyclic.
    error = ops.pad(error, [(0, 0), *[(0, 1)] * (len(error.shape) - 2), (0, 0)])
    axes = tuple(range(1, len(fixed.shape)))
    total = 0.0
    for k in range(1, erosions + 1):
        error = _eroded(error)
        total = total + float(k) ** alpha * ops.sum(error, axis=axes)
    return total / values


def _eroded(x: Tensor) -> Tensor:
    rank = len(x.shape) - 2
    total = x
    for axis in range(1, rank + 1):
        total = total + ops.roll(x, 1, axis) + ops.roll(x, -1, axis)
    return ops.relu(2.0 * total / (2 * rank + 1) - 1.0)
