"""What every loss holds: one finite value a sample, finite gradients, and gradients that lower it."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from acreg.layers import functional
from acreg.losses import DISPLACEMENT_LOSSES, FIELD_LOSSES, IMAGE_LOSSES, JACOBIAN_LOSSES, LABEL_LOSSES, LOSSES

PAIR_LOSSES = {**IMAGE_LOSSES, **LABEL_LOSSES}
LONE_LOSSES = {**FIELD_LOSSES, **JACOBIAN_LOSSES}
"""Losses of one field."""
SHAPES = {2: (14, 12), 3: (10, 9, 8)}
ranks = pytest.mark.parametrize("rank", [2, 3])


def one_hot(labels):
    return np.eye(3, dtype=np.float32)[labels]


def draw(name, rank, seed=0, batch=2):
    """A fixed and a moving image, or one-hot labels; smooth, so that they can be registered."""
    noise = np.random.default_rng(seed).normal(size=(2, batch, *SHAPES[rank]))
    smooth = ndimage.gaussian_filter(noise, (0, 0) + (1.5,) * rank)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    if name in LABEL_LOSSES:
        return one_hot(np.digitize(smooth, np.quantile(smooth, [0.4, 0.7])))
    return smooth[..., None].astype(np.float32)


def draw_field(rank, batch=2):
    return np.random.default_rng(2).uniform(-0.9, 0.9, size=(batch, *SHAPES[rank], rank)).astype(np.float32)


def check_descent(loss, gradient, x, size):
    """A short step against the gradient lowers the loss of every sample."""
    slope = gradient(loss, x)
    assert np.isfinite(slope).all()
    for sample in slope:
        assert np.abs(sample).max() > 0
    largest = np.abs(slope).max(axis=tuple(range(1, slope.ndim)), keepdims=True)
    before, after = np.asarray(loss(x)), np.asarray(loss(x - size * slope / largest))
    assert before.shape == (len(x),) and (after < before).all()


@ranks
@pytest.mark.parametrize("name", list(PAIR_LOSSES))
def test_the_gradient_lowers_it(name, rank, gradient):
    fixed, warped = draw(name, rank)
    warped = 0.9 * warped + 0.03
    check_descent(lambda w: PAIR_LOSSES[name](fixed, w), gradient, warped, 0.01)


@ranks
@pytest.mark.parametrize("name", list(DISPLACEMENT_LOSSES))
@pytest.mark.parametrize("far", [1.0, 20.0])
def test_the_gradient_brings_a_field_nearer_to_the_true_one(name, far, rank, gradient):
    true = draw_field(rank)
    check_descent(lambda found: DISPLACEMENT_LOSSES[name](true, found), gradient, far * true[::-1], 0.01)


@ranks
@pytest.mark.parametrize("name", list(LONE_LOSSES))
def test_the_gradient_smooths_or_unfolds_a_field(name, rank, gradient):
    check_descent(LONE_LOSSES[name], gradient, draw_field(rank), 0.01)


@ranks
@pytest.mark.parametrize("name", list(PAIR_LOSSES))
def test_the_gradient_reaches_the_displacement_and_lowers_it(name, rank, gradient):
    fixed, moving = draw(name, rank)
    u = draw_field(rank)
    u = np.where(np.abs(u) < 0.1, 0.1, u)  # not on a voxel, where interpolation has a kink
    check_descent(lambda u: PAIR_LOSSES[name](fixed, functional.warp(moving, u)), gradient, u, 0.02)
    nearest = gradient(lambda u: PAIR_LOSSES[name](fixed, functional.warp(moving, u, "nearest")), u)
    assert not nearest.any()  # which is why labels are warped as linear one-hot


@ranks
@pytest.mark.parametrize("name", list(IMAGE_LOSSES))
def test_an_image_is_found_again(name, rank, gradient):
    """Thirty ever shorter steps down the gradient find a shift of all voxels by half a voxel."""
    moving = draw(name, rank, batch=1)[0]
    shift = np.full(rank, 0.5, np.float32)
    ones = np.ones((1, *SHAPES[rank], 1), np.float32)
    fixed = np.asarray(functional.warp(moving, ones * shift))
    u = np.zeros(rank, np.float32)
    for i in range(30):
        slope = gradient(lambda s: PAIR_LOSSES[name](fixed, functional.warp(moving, ones * s)), u)
        u = u - 0.15 * 0.9**i * slope / np.linalg.norm(slope)
    np.testing.assert_allclose(u, shift, atol=0.05)


@ranks
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", list(IMAGE_LOSSES))
def test_constant_images_have_finite_gradients(name, value, rank, gradient):
    image = draw(name, rank)[0]
    constant = np.full_like(image, value)
    for fixed, moving in ((image, constant), (constant, image), (constant, constant)):
        check_finite(lambda u, f=fixed, m=moving: PAIR_LOSSES[name](f, functional.warp(m, u)), gradient, rank)


@ranks
@pytest.mark.parametrize("name", list(LABEL_LOSSES))
def test_empty_labels_have_finite_gradients(name, rank, gradient):
    labels = draw(name, rank)[0]
    empty = one_hot(np.zeros(labels.shape[:-1], int))
    for fixed, moving in ((labels, empty), (empty, labels), (empty, empty), (labels, np.zeros_like(labels))):
        check_finite(lambda u, f=fixed, m=moving: PAIR_LOSSES[name](f, functional.warp(m, u)), gradient, rank)
        check_finite(lambda w, f=fixed: PAIR_LOSSES[name](f, w), gradient, rank, moving)


@ranks
@pytest.mark.parametrize("name", list(LONE_LOSSES))
def test_a_field_of_zeros_has_a_finite_gradient(name, rank, gradient):
    check_finite(LONE_LOSSES[name], gradient, rank, np.zeros((2, *SHAPES[rank], rank), np.float32))


@ranks
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", list(LOSSES))
def test_noise_has_finite_gradients(name, scale, rank, gradient):
    """Noise of any size about 0; labels that are wrong everywhere, or probabilities that are nearly 0 and 1."""
    first, second = scale * np.random.default_rng(3).normal(size=(2, 2, *SHAPES[rank], 3)).astype(np.float32)
    if name in LABEL_LOSSES:
        first, second = one_hot(first.argmax(-1)), np.asarray(keras.ops.softmax(second))
    elif name in IMAGE_LOSSES:
        first, second = first[..., :1], second[..., :1]
    else:
        first, second = first[..., :rank], second[..., :rank]
    loss = LOSSES[name] if name in LONE_LOSSES else lambda x: LOSSES[name](first, x)
    check_finite(loss, gradient, rank, second)


def check_finite(loss, gradient, rank, x=None):
    x = draw_field(rank) if x is None else x
    assert np.isfinite(np.asarray(loss(x))).all()
    assert np.isfinite(gradient(loss, x)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
@pytest.mark.parametrize("name", list(PAIR_LOSSES) + list(LONE_LOSSES))
def test_is_computed_in_float32(name, dtype):
    inputs = draw_field(2)[None] if name in LONE_LOSSES else draw(name, 2)
    low = [keras.ops.cast(20 * x, dtype) for x in inputs]
    loss = {**PAIR_LOSSES, **LONE_LOSSES}[name]
    value = loss(*low)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_array_equal(value, loss(*[keras.ops.cast(x, "float32") for x in low]))
