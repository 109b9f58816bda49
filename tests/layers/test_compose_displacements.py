import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from acreg.layers import ComposeDisplacements, SpatialTransformer

SHAPES = [(36, 40), (24, 26, 28)]
few = settings(max_examples=5, deadline=None, derandomize=True, phases=[Phase.generate])
seeds = st.integers(0, 2**16)
ranks = st.sampled_from([2, 3])
warp, compose = SpatialTransformer(), ComposeDisplacements()


@few
@given(seed=seeds, rank=ranks)
def test_is_warping_twice(smooth_field, identity, seed, rank):
    shape = SHAPES[rank - 2]
    a, b = smooth_field(shape, 2.0, seed), smooth_field(shape, 1.5, seed + 1)
    # An image of coordinates is interpolated without error, so that the law is exact.
    image = identity(shape)[None]
    np.testing.assert_allclose(warp(warp(image, a), b), warp(image, compose(a, b)), atol=2e-5)
    assert np.abs(np.asarray(compose(a, b)) - np.asarray(compose(b, a))).max() > 0.05  # the order matters
    noise = np.random.default_rng(seed).normal(size=shape)
    image = ndimage.gaussian_filter(noise, 4.0, mode="nearest").astype(np.float32)[None, ..., None]
    twice, once = np.asarray(warp(warp(image, a), b)), np.asarray(warp(image, compose(a, b)))
    assert np.abs(twice - once).max() < 0.1 * image.std() and np.abs(once - image).max() > 0.3 * image.std()


@few
@given(seed=seeds, rank=ranks)
def test_is_associative_up_to_interpolation(smooth_field, seed, rank):
    a, b, c = (smooth_field(SHAPES[rank - 2], 1.0, seed + i) for i in range(3))
    left, right = compose(compose(a, b), c), compose(a, compose(b, c))
    assert np.abs(np.asarray(left) - np.asarray(right)).max() < 0.04


@few
@given(seed=seeds, rank=ranks, amplitude=st.floats(0.1, 2.0))
def test_a_right_inverse_is_a_left_inverse(smooth_field, seed, rank, amplitude):
    u = smooth_field(SHAPES[rank - 2], amplitude, seed)
    inverse = -u
    for _ in range(25):  # u(p + inverse(p)) = -inverse(p), by iteration to the fixed point
        inverse = -np.asarray(warp(u, inverse))
    assert np.abs(compose(u, inverse)).max() < 1e-4
    assert np.abs(compose(inverse, u)).max() < 0.08 * amplitude


def test_the_identity_changes_nothing(smooth_field):
    u, zero = smooth_field((36, 40), 3.0), np.zeros((1, 36, 40, 2), np.float32)
    np.testing.assert_array_equal(compose(u, zero), u)
    np.testing.assert_array_equal(compose(zero, u), u)


def test_errors():
    u = np.zeros((2, 4, 5, 2), np.float32)
    for other in (u[:, :, :4], u[:1]):
        with pytest.raises(ValueError, match="must live on one grid. Received: first.shape="):
            compose(u, other)
    with pytest.raises(ValueError, match="`first` must have shape"):
        compose(u[..., :1], u)
