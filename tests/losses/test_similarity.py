import numpy as np
import pytest

from acreg.losses import local_ncc, mean_squared_error, ncc

SHAPES = [(12, 9), (7, 6, 8)]


def pair(shape, channels=1, batch=3, seed=0):
    """Two images in [0, 1] that correlate more or less."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(size=(2, batch, *shape, channels)).astype(np.float32)
    return a, (0.5 * a + 0.5 * b)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 2])
def test_ncc_is_one_minus_pearsons_correlation(shape, channels):
    a, b = pair(shape, channels)
    expected = [1 - np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b)]
    np.testing.assert_allclose(ncc(a, b), expected, atol=1e-6)
    np.testing.assert_allclose(ncc(a, a), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(ncc(a, -a), np.full(3, 2.0), atol=1e-6)


@pytest.mark.parametrize(("factor", "offset"), [(0.01, 0.3), (3.0, -1.0), (255.0, 40.0)])
def test_ncc_does_not_see_brightness_and_contrast(factor, offset):
    a, b = pair((12, 9))
    np.testing.assert_allclose(ncc(a, factor * b + offset), ncc(a, b), atol=1e-5)
    np.testing.assert_allclose(ncc(factor * a + offset, b), ncc(a, b), atol=1e-5)


@pytest.mark.parametrize("loss", [ncc, local_ncc])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_image_is_uncorrelated(loss, value, gradient):
    a, _ = pair((12, 9))
    constant = np.full_like(a, value)
    for x, y in ((a, constant), (constant, a), (constant, constant)):
        np.testing.assert_allclose(loss(x, y), np.ones(3), atol=1e-3)
        assert np.isfinite(gradient(lambda w, x=x: loss(x, w), y)).all()


def test_ncc_pulls_a_constant_image_towards_the_fixed_one(gradient):
    a, _ = pair((12, 9))
    direction = -gradient(lambda w: ncc(a, w), np.full_like(a, 0.5))
    assert np.corrcoef(direction[0].ravel(), a[0].ravel())[0, 1] > 0.99


def brute_force_local_ncc(a, b, window, epsilon):
    """Window by window, over the part that lies inside of the image."""
    values = []
    for p in np.ndindex(a.shape[:-1]):
        around = tuple(slice(max(0, i - window // 2), i + window // 2 + 1) for i in p)
        for c in range(a.shape[-1]):
            x, y = (image[(*around, c)].astype(np.float64).ravel() for image in (a, b))
            values.append(np.cov(x, y, bias=True)[0, 1] ** 2 / (np.var(x) * np.var(y) + epsilon))
    return 1 - np.mean(values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("window", "channels", "epsilon"), [(3, 1, 1e-8), (5, 2, 1e-8), (9, 1, 1e-3)])
def test_local_ncc_equals_brute_force(shape, window, channels, epsilon):
    a, b = pair(shape, channels, batch=2)
    expected = [brute_force_local_ncc(x, y, window, epsilon) for x, y in zip(a, b)]
    np.testing.assert_allclose(local_ncc(a, b, window, epsilon), expected, atol=1e-5)


def test_local_ncc_of_faint_texture_with_itself_is_zero():
    a = 0.5 + 0.05 * pair((20, 20))[0]  # standard deviation 0.014
    np.testing.assert_allclose(local_ncc(a, a), np.zeros(3), atol=0.3)
    np.testing.assert_allclose(local_ncc(10 * a, 10 * a), np.zeros(3), atol=1e-3)
    np.testing.assert_allclose(local_ncc(10 * a, -20 * a + 3), np.zeros(3), atol=1e-3)


def test_mean_squared_error():
    a, b = pair((12, 9), channels=2)
    np.testing.assert_allclose(mean_squared_error(a, b), np.mean((a - b) ** 2, axis=(1, 2, 3)), rtol=1e-5)
    assert not np.any(mean_squared_error(a, a))
