"""How unlike two label maps are: losses on one-hot probabilities ``(batch, *spatial, classes)``, one value a sample.

Class 0 is the background. ``warped`` is a linearly warped one-hot map: its values are probabilities, not logits.
"""

from __future__ import annotations

from keras import ops

from acreg.layers.tensor import Tensor


def cross_entropy(fixed: Tensor, warped: Tensor, epsilon: float = 0.01) -> Tensor:
    """Categorical cross-entropy of probabilities, mean over voxels, ``(batch,)``; 0 where they agree exactly.

    ``mean_p sum_c fixed_c(p) * (log(1 + epsilon) - log(warped_c(p) + epsilon))``. ``epsilon`` bounds the cost of a
    voxel that is surely wrong (4.6 for 0.01) without cutting off its gradient, as clipping would.

    Source: Mansilla et al., eq. 3. Their code fed the warped one-hot to a softmax as if it were logits, which keeps
    the loss above 0.744 for four classes.
    """
    fixed, warped = ops.cast(fixed, "float32"), ops.cast(warped, "float32")
    cost = ops.log(1.0 + epsilon) - ops.log(ops.maximum(warped, 0.0) + epsilon)
    return ops.mean(ops.sum(fixed * cost, axis=-1), axis=tuple(range(1, len(fixed.shape) - 1)))


def soft_dice(fixed: Tensor, warped: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the mean soft Dice over the classes but the background, ``(batch,)``.

    ``(2 sum(fixed * warped) + smooth) / (sum(fixed) + sum(warped) + smooth)`` for each class, over all voxels, then the
    plain mean over the classes that are there: one that is empty in both maps is no agreement and is left out. Where
    none is there, the loss is 0.
    """
    dice, there = _dice(fixed, warped, smooth)
    return ops.sum(there * (1.0 - dice), axis=-1) / ops.maximum(ops.sum(there, axis=-1), 1.0)


def log_dice(fixed: Tensor, warped: Tensor, smooth: float = 1.0) -> Tensor:
    """Minus the mean logarithm of the soft Dice over the classes but the background, ``(batch,)``.

    Classes and ``smooth`` are those of `soft_dice`. The gradient of a class is that of its Dice divided by the Dice:
    labels that hardly overlap pull hardest, where `soft_dice` weighs all alike. Without any overlap a class of n voxels
    in both maps costs ``log(1 + 2 n / smooth)``, which is finite.

    Source: Mahapatra et al., Joint registration and segmentation of X-ray images using generative adversarial networks,
    eq. 4, whose logarithm stands with a plus sign in a loss; it is minimised here with the sign that raises the Dice.
    """
    dice, there = _dice(fixed, warped, smooth)
    return -ops.sum(there * ops.log(dice), axis=-1) / ops.maximum(ops.sum(there, axis=-1), 1.0)


def _dice(fixed: Tensor, warped: Tensor, smooth: float) -> tuple[Tensor, Tensor]:
    """The soft Dice of each class but the background, and 1 for those that are there, each ``(batch, classes - 1)``."""
    axes = tuple(range(1, len(fixed.shape) - 1))
    fixed, warped = ops.cast(fixed[..., 1:], "float32"), ops.cast(warped[..., 1:], "float32")
    both = 2.0 * ops.sum(fixed * warped, axis=axes)
    total = ops.sum(fixed, axis=axes) + ops.sum(warped, axis=axes)
    return (both + smooth) / (total + smooth), ops.cast(total > 0, "float32")


def hausdorff_erosion(fixed: Tensor, warped: Tensor, alpha: float = 2.0, erosions: int = 10) -> Tensor:
    """How thick the differences between two label maps are, ``(batch,)``: a Hausdorff distance with a gradient.

    The squared difference of each class but the background is eroded again and again; ``sum_k k^alpha mean(eroded_k)``
    over ``k = 1 ... erosions`` counts what is left, mean over voxels and classes. An erosion is the mean over a voxel
    and its neighbours along the axes, of which what is above one half is kept and scaled back to [0, 1]; outside of the
    image nothing differs.

    What differs in a layer of one or two voxels is gone after the first erosions and has little or no gradient: use it
    beside `soft_dice` or `cross_entropy`, never alone. What is thicker than the erosions can take away
    counts by volume only. Memory grows linearly with ``erosions``.

    Args:
        fixed, warped: see above.
        alpha: how much more thick differences count; 2 is the paper's.
        erosions: how many; each takes about half a voxel from a plane side, so that ten take away a layer ten voxels
            thick.

    Source: Karimi & Salcudean, Reducing the Hausdorff distance in medical image segmentation with convolutional neural
    networks, IEEE TMI 2020: the form with erosions. DDMR thresholded by a sign, whose gradient is zero.
    """
    error = ops.square(ops.cast(fixed[..., 1:], "float32") - ops.cast(warped[..., 1:], "float32"))
    values = ops.cast(ops.prod(ops.shape(error)[1:]), "float32")
    # One layer of zeros at each axis's end stands for the outside on both sides: rolling takes it round.
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
