import numpy as np
import pytest
from medpy.metric.binary import dc

from acreg.losses import cross_entropy, soft_dice

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


def test_a_label_empty_in_both_counts_as_agreement():
    fixed, warped = one_hot((12, 9), classes=3), one_hot((12, 9), classes=3, seed=1)
    empty = np.zeros((2, 12, 9, 1), np.float32)
    two = np.asarray(soft_dice(fixed, warped))
    three = soft_dice(np.concatenate([fixed, empty], -1), np.concatenate([warped, empty], -1))
    np.testing.assert_allclose(three, two * 2 / 3, rtol=1e-5)
    nothing = np.concatenate([np.ones((1, 12, 9, 1)), np.zeros((1, 12, 9, 3))], -1).astype(np.float32)
    np.testing.assert_allclose(soft_dice(nothing, nothing), [0.0], atol=1e-6)
    # In one only: almost nothing in common, and no division by zero.
    assert 0.9 < soft_dice(nothing, one_hot((12, 9), batch=1))[0] < 1
