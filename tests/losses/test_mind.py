"""MIND-SSC against its definition, patch by patch; what it does not see."""

import itertools

import numpy as np
import pytest

from acreg.losses import IMAGE_LOSSES, mind_ssc, mind_ssc_features

SHAPES = [(9, 7), (6, 5, 7)]


def image(shape, batch=1, channels=1, seed=0):
    return np.random.default_rng(seed).uniform(size=(batch, *shape, channels)).astype(np.float32)


def brute_force(x, radius, dilation):
    """Patch by patch, in float64; the channels in any order."""
    rank = x.ndim
    places = [sign * dilation * axis for axis in np.eye(rank, dtype=int) for sign in (1, -1)]
    pairs = [(a, b) for a, b in itertools.combinations(places, 2) if np.sum((a - b) ** 2) == 2 * dilation**2]
    window = np.array(list(itertools.product(range(-radius, radius + 1), repeat=rank)))
    voxels = np.array(list(np.ndindex(x.shape)))

    def values(p):
        return x[tuple(np.clip(p, 0, np.array(x.shape) - 1).T)]

    distances = np.stack(
        [np.mean([(values(voxels + w + a) - values(voxels + w + b)) ** 2 for w in window], axis=0) for a, b in pairs],
        axis=1,
    )
    above = distances - distances.min(axis=1, keepdims=True)
    variance = above.mean(axis=1)
    variance = np.clip(variance, 1e-3 * variance.mean(), 1e3 * variance.mean())
    return np.exp(-above / variance[:, None]).reshape(*x.shape, -1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("radius", "dilation"), [(1, 2), (2, 1)])
def test_equals_brute_force(shape, radius, dilation):
    x = image(shape)
    expected = brute_force(x[0, ..., 0].astype(float), radius, dilation)
    found = np.asarray(mind_ssc_features(x, radius, dilation))[0]
    assert found.shape == (*shape, 12 if len(shape) == 3 else 4)
    np.testing.assert_allclose(np.sort(found, axis=-1), np.sort(expected, axis=-1), atol=1e-5)


def test_the_same_channel_is_the_same_pair_of_patches_in_every_image():
    """Turning an image permutes the channels; the same permutation at all voxels, for every image."""
    a, b = (np.asarray(mind_ssc_features(image((8, 8, 8), seed=s)))[0] for s in (0, 1))
    turned = [np.asarray(mind_ssc_features(np.flip(image((8, 8, 8), seed=s), axis=2)))[0][:, ::-1] for s in (0, 1)]
    distances = [np.abs(x[..., :, None] - y[..., None, :]).max(axis=(0, 1, 2)) for x, y in zip((a, b), turned)]
    order = distances[0].argmin(axis=1)
    assert sorted(order) == list(range(12)) and list(order) != list(range(12))
    for distance in distances:
        np.testing.assert_allclose(distance[np.arange(12), order], 0, atol=1e-5)


@pytest.mark.parametrize(("factor", "offset"), [(0.01, 0.3), (-2.0, 1.0), (255.0, -40.0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_does_not_see_brightness_and_contrast(shape, factor, offset):
    x = image(shape, batch=2)
    np.testing.assert_allclose(mind_ssc_features(factor * x + offset), mind_ssc_features(x), atol=1e-3)
    np.testing.assert_allclose(mind_ssc(x, factor * x + offset), np.zeros(2), atol=1e-6)


def test_a_sample_is_described_on_its_own_and_a_constant_one_by_ones():
    x = image((9, 7), batch=2)
    x[1] = 0.3
    np.testing.assert_allclose(mind_ssc_features(x)[:1], mind_ssc_features(x[:1]), atol=1e-6)
    np.testing.assert_array_equal(mind_ssc_features(x)[1], np.ones((9, 7, 4)))


def test_equal_channels_count_as_one():
    x = image((6, 5, 7))
    np.testing.assert_allclose(mind_ssc_features(np.concatenate([x, x, x], axis=-1)), mind_ssc_features(x), atol=1e-5)


def test_the_loss_is_the_mean_squared_difference_of_the_features():
    a, b = image((6, 5, 7), batch=2), image((6, 5, 7), batch=2, seed=1)
    features = [np.asarray(mind_ssc_features(x, 2, 1)) for x in (a, b)]
    expected = np.mean((features[0] - features[1]) ** 2, axis=(1, 2, 3, 4))
    np.testing.assert_allclose(mind_ssc(a, b, 2, 1), expected, rtol=1e-5)
    loss = IMAGE_LOSSES["mind_ssc"].changed({"radius": 2, "dilation": 1})
    np.testing.assert_array_equal(loss(a, b), mind_ssc(a, b, 2, 1))
