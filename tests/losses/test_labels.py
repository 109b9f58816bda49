import itertools

import numpy as np
import pytest
from medpy.metric.binary import dc, hd
from scipy import ndimage

from acreg.losses import cross_entropy, hausdorff_erosion, log_dice, soft_dice

SHAPES = [(12, 9), (7, 6, 8)]


def one_hot(shape, classes=4, seed=0, batch=2):
    labels = np.random.default_rng(seed).integers(classes, size=(batch, *shape))
    return np.eye(classes, dtype=np.float32)[labels]


def probabilities(shape, classes=4, seed=1, batch=2):
    p = np.random.default_rng(seed).uniform(size=(batch, *shape, classes))
    return (p / p.sum(-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_equals_numpy(shape):
    fixed, warped = one_hot(shape), probabilities(shape)
    cost = np.log(1.01) - np.log(np.sum(fixed * warped, axis=-1) + 0.01)  # of the true class
    np.testing.assert_allclose(cross_entropy(fixed, warped), cost.reshape(2, -1).mean(axis=1), rtol=1e-5)


def test_cross_entropy_is_zero_where_labels_agree_and_bounded_where_not():
    fixed = one_hot((12, 9))
    # Probabilities taken for logits would leave log(1 + 3 / e) = 0.744 for four classes.
    np.testing.assert_allclose(cross_entropy(fixed, fixed), np.zeros(2), atol=1e-6)
    wrong = np.roll(fixed, 1, axis=-1)
    np.testing.assert_allclose(cross_entropy(fixed, wrong), np.full(2, np.log(101)), rtol=1e-5)
    np.testing.assert_allclose(cross_entropy(fixed, np.zeros_like(fixed)), np.full(2, np.log(101)), rtol=1e-5)


def test_cross_entropy_pulls_hardest_where_a_voxel_is_surely_wrong(gradient):
    fixed = np.eye(3, dtype=np.float32)[[0, 0, 0]].reshape(1, 1, 3, 3)
    warped = np.eye(3, dtype=np.float32)[[0, 1, 2]].reshape(1, 1, 3, 3)
    slope = gradient(lambda w: cross_entropy(fixed, w), warped)[0, 0, :, 0]
    np.testing.assert_allclose(slope, [-1 / 1.01 / 3, -100 / 3, -100 / 3], rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_soft_dice_of_hard_masks_is_medpys(shape):
    fixed, warped = one_hot(shape), one_hot(shape, seed=1)
    expected = [1 - np.mean([dc(f[..., c], w[..., c]) for c in (1, 2, 3)]) for f, w in zip(fixed, warped)]
    np.testing.assert_allclose(soft_dice(fixed, warped, smooth=1e-6), expected, atol=1e-5)
    np.testing.assert_allclose(soft_dice(fixed, fixed), np.zeros(2), atol=1e-6)


def test_soft_dice_does_not_see_the_background():
    fixed, warped = one_hot((12, 9)), probabilities((12, 9))
    other = warped.copy()
    other[..., 0] = 0.123
    np.testing.assert_array_equal(soft_dice(fixed, other), soft_dice(fixed, warped))


def test_a_label_empty_in_both_is_left_out_of_the_mean(gradient):
    fixed, warped = one_hot((12, 9), classes=3), one_hot((12, 9), classes=3, seed=1)
    empty = np.zeros((2, 12, 9, 1), np.float32)
    more = [np.concatenate([x, empty], -1) for x in (fixed, warped)]
    np.testing.assert_allclose(soft_dice(*more), soft_dice(fixed, warped), rtol=1e-6)
    slopes = [gradient(lambda w, f=f: soft_dice(f, w), w) for f, w in ((fixed, warped), more)]
    np.testing.assert_allclose(slopes[1][..., :3], slopes[0], rtol=1e-6)
    nothing = np.concatenate([np.ones((1, 12, 9, 1)), np.zeros((1, 12, 9, 3))], -1).astype(np.float32)
    np.testing.assert_array_equal(soft_dice(nothing, nothing), [0.0])
    # In one only: almost nothing in common, and no division by zero.
    assert 0.9 < soft_dice(nothing, one_hot((12, 9), batch=1))[0] < 1


def test_soft_dice_weighs_small_and_large_labels_alike():
    """The mean over classes, not over voxels: all of a small label lost costs as much as all of a large one."""
    fixed = np.zeros((1, 20, 20), int)
    fixed[0, :12], fixed[0, 15:18, 15:18] = 1, 2
    lost = [np.where(fixed == label, 0, fixed) for label in (1, 2)]
    values = [soft_dice(np.eye(3)[fixed], np.eye(3)[x], smooth=1e-6)[0] for x in lost]
    np.testing.assert_allclose(values, [0.5, 0.5], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_dice_of_hard_masks_is_the_logarithm_of_medpys(shape):
    fixed, warped = one_hot(shape), one_hot(shape, seed=1)
    expected = [-np.mean([np.log(dc(f[..., c], w[..., c])) for c in (1, 2, 3)]) for f, w in zip(fixed, warped)]
    np.testing.assert_allclose(log_dice(fixed, warped, smooth=1e-6), expected, rtol=1e-4)
    assert not np.any(log_dice(fixed, fixed))


def test_log_dice_of_one_mask_is_that_of_soft_dice_and_pulls_by_the_inverse_of_the_dice(gradient):
    fixed, warped = one_hot((12, 9), classes=2), probabilities((12, 9), classes=2)
    lost = np.asarray(soft_dice(fixed, warped))
    np.testing.assert_allclose(log_dice(fixed, warped), -np.log(1 - lost), rtol=1e-5)
    slopes = [gradient(lambda w, f=f: f(fixed, w), warped) for f in (log_dice, soft_dice)]
    np.testing.assert_allclose(slopes[0], slopes[1] / (1 - lost).reshape(2, 1, 1, 1), rtol=1e-4, atol=1e-8)


def test_log_dice_pulls_harder_at_the_label_that_overlaps_less(gradient):
    """What a recipe cannot have from soft Dice: with two labels it is no function of it."""
    labels = np.zeros((2, 1, 10, 24), int)
    labels[0, 0, :, 0:8], labels[0, 0, :, 12:20] = 1, 2
    labels[1, 0, :, 1:9], labels[1, 0, :, 19:24] = 1, 2  # 7 of 8 columns in common, and 1
    fixed, warped = np.eye(3, dtype=np.float32)[labels]
    for loss, low, high in ((soft_dice, 1.5, 2.5), (log_dice, 8.0, 14.0)):
        slope = np.abs(gradient(lambda w, loss=loss: loss(fixed, w), warped)).max(axis=(0, 1, 2))
        assert low < slope[2] / slope[1] < high and slope[0] == 0


def test_log_dice_without_overlap_is_finite_and_pulls(gradient):
    fixed = np.eye(2, dtype=np.float32)[(np.arange(40).reshape(1, 5, 8) < 16).astype(int)]
    warped = np.roll(fixed, 2, axis=1)
    np.testing.assert_allclose(log_dice(fixed, warped), [np.log(33)], rtol=1e-5)
    np.testing.assert_allclose(log_dice(fixed, np.zeros_like(fixed)), [np.log(17)], rtol=1e-5)
    assert (gradient(lambda w: log_dice(fixed, w), warped)[..., 1][fixed[..., 1] > 0] < 0).all()


def numpy_erosion_loss(fixed, warped, alpha, erosions):
    """Class by class by convolutions, in float64."""
    rank, value = fixed.ndim - 1, 0.0
    cross = ndimage.generate_binary_structure(rank, 1) / (2 * rank + 1)
    for c in range(1, fixed.shape[-1]):
        error = (fixed[..., c].astype(float) - warped[..., c]) ** 2
        for k in range(1, erosions + 1):
            error = np.maximum(ndimage.convolve(error, cross, mode="constant") - 0.5, 0) / 0.5
            value += k**alpha * error.mean()
    return value / (fixed.shape[-1] - 1)


def blocks(shape, classes=3, seed=0, batch=2):
    """One-hot labels of thick random patches that reach the border."""
    noise = np.random.default_rng(seed).normal(size=(batch, *shape))
    smooth = ndimage.gaussian_filter(noise, (0,) + (3,) * len(shape))
    labels = np.digitize(smooth, np.quantile(smooth, [0.35, 0.7])[: classes - 1])
    return np.eye(classes, dtype=np.float32)[labels]


@pytest.mark.parametrize("shape", [(30, 25), (16, 17, 15)])
@pytest.mark.parametrize(("alpha", "erosions"), [(2.0, 10), (1.0, 3)])
def test_hausdorff_erosion_equals_numpy(shape, alpha, erosions):
    fixed, warped = blocks(shape), 0.95 * blocks(shape, seed=1)
    expected = [numpy_erosion_loss(f, w, alpha, erosions) for f, w in zip(fixed, warped)]
    assert min(expected) > 0.1
    np.testing.assert_allclose(hausdorff_erosion(fixed, warped, alpha, erosions), expected, rtol=1e-5)
    assert not np.any(hausdorff_erosion(fixed, fixed))
    other = warped.copy()
    other[..., 0] = 0.5  # the background is not compared
    np.testing.assert_array_equal(hausdorff_erosion(fixed, other), hausdorff_erosion(fixed, warped))


def distance_loss(fixed, warped, alpha=2.0):
    """The form with distance transforms, of two masks: ``mean (p - q)^2 (d_p^alpha + d_q^alpha)``."""
    away = [ndimage.distance_transform_edt(m) + ndimage.distance_transform_edt(~m) for m in (fixed, warped)]
    return np.mean((fixed ^ warped) * (away[0] ** alpha + away[1] ** alpha))


def erosion_loss(fixed, warped):
    return float(hausdorff_erosion(*(np.stack([~m, m], -1)[None].astype(np.float32) for m in (fixed, warped)))[0])


def ball(shape, centre, radius):
    return np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - centre, axis=-1) < radius


@pytest.mark.parametrize("shape", [(48, 40), (36, 26, 28)])
def test_both_forms_of_the_hausdorff_loss_rank_pairs_as_medpy_does(shape):
    centre = np.array(shape) / 2
    fixed = ball(shape, centre, 9)
    pairs = [ball(shape, centre + shift * np.eye(len(shape))[0], 9) for shift in range(3, 9)]
    distances = [hd(mask, fixed) for mask in pairs]
    assert all(a < b for a, b in itertools.pairwise(distances))
    for loss in (erosion_loss, distance_loss):
        values = [loss(fixed, mask) for mask in pairs]
        assert all(0 < a < b for a, b in itertools.pairwise(values))


def test_a_bump_costs_more_than_a_thin_shell_of_more_voxels():
    """What a Hausdorff loss is for, and what Dice does not see."""
    shape, centre = (64, 64), np.array([32.0, 32.0])
    fixed = ball(shape, centre, 16)
    shell, bump = ball(shape, centre, 17.5), fixed | ball(shape, centre + [18, 0], 5)
    assert (shell ^ fixed).sum() > (bump ^ fixed).sum() and hd(bump, fixed) > 3 * hd(shell, fixed)
    for loss in (erosion_loss, distance_loss):
        assert loss(fixed, bump) > loss(fixed, shell) > 0
    as_labels = [np.stack([~m, m], -1)[None].astype(np.float32) for m in (fixed, shell, bump)]
    assert soft_dice(as_labels[0], as_labels[1])[0] > soft_dice(as_labels[0], as_labels[2])[0]


def test_a_difference_of_single_voxels_has_no_gradient_by_erosion(gradient):
    """As the docstring warns: it is used beside another label loss."""
    fixed = np.zeros((1, 12, 12, 2), np.float32)
    warped = fixed.copy()
    warped[0, 6, 6, 1] = 1
    assert not gradient(lambda w: hausdorff_erosion(fixed, w), warped).any()
    assert gradient(lambda w: soft_dice(fixed, w), warped).any()
