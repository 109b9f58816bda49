import keras
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


def brute_force_local_ncc(a, b, window, epsilon, weights=None):
    """Window by window, over the part that lies inside of the image."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    weights = np.ones(a.shape[:-1]) if weights is None else weights[..., 0].astype(np.float64)
    windows = np.broadcast_to(window, a.ndim - 1)
    values = []
    for p in np.ndindex(a.shape[:-1]):
        around = tuple(slice(max(0, i - n // 2), i + n // 2 + 1) for i, n in zip(p, windows))
        w = weights[around].ravel()
        for c in range(a.shape[-1] if weights[p] else 0):
            cov = np.cov(a[(*around, c)].ravel(), b[(*around, c)].ravel(), aweights=w, bias=True)
            values.append(weights[p] * cov[0, 1] ** 2 / (cov[0, 0] * cov[1, 1] + epsilon))
    return 1 - np.sum(values) / (np.sum(weights) * a.shape[-1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("window", "channels", "epsilon"), [(3, 1, 1e-8), (5, 2, 1e-8), (9, 1, 1e-3), ((5, 1, 3), 1, 1e-8)]
)
def test_local_ncc_equals_brute_force(shape, window, channels, epsilon):
    a, b = pair(shape, channels, batch=2)
    window = window if isinstance(window, int) else window[: len(shape)]
    expected = [brute_force_local_ncc(x, y, window, epsilon) for x, y in zip(a, b)]
    np.testing.assert_allclose(local_ncc(a, b, window, epsilon), expected, atol=1e-5)


def masks(shape, batch=2, seed=1):
    """Weights of which a third are 0."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 1, size=(batch, *shape, 1)) * (rng.uniform(size=(batch, *shape, 1)) > 1 / 3)
    return weights.astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_local_ncc_equals_brute_force(shape):
    a, b = pair(shape, channels=2, batch=2)
    weights = masks(shape)
    expected = [brute_force_local_ncc(x, y, 5, 1e-3, w) for x, y, w in zip(a, b, weights)]
    np.testing.assert_allclose(local_ncc(a, b, 5, 1e-3, weights=weights), expected, atol=1e-5)
    even = np.full_like(weights, 0.5)
    np.testing.assert_allclose(local_ncc(a, b, 5, 1e-3, weights=even), local_ncc(a, b, 5, 1e-3), atol=1e-6)


@pytest.mark.parametrize(("shape", "weighted"), [(SHAPES[0], True), (SHAPES[1], False)])
@pytest.mark.parametrize("image", ["fixed", "warped"])
def test_local_nccs_own_gradient_is_the_derivative(shape, weighted, image, gradient):
    window, step = (5, 3, 7)[: len(shape)], 1e-5
    a, b = pair(shape, channels=2, batch=2)
    weights = masks(shape) if weighted else None

    def value(x):  # of the second sample
        images = (x, b[1]) if image == "fixed" else (a[1], x)
        return brute_force_local_ncc(*images, window, 1e-3, weights[1] if weighted else None)

    start = {"fixed": a, "warped": b}[image]
    found = gradient(
        lambda x: local_ncc(*((x, b) if image == "fixed" else (a, x)), window, 1e-3, weights=weights)[1], start
    )
    assert not found[0].any()
    for seed in (2, 3):
        direction = np.random.default_rng(seed).normal(size=start[1].shape)
        forth, back = (value(start[1] + s * direction) for s in (step, -step))
        np.testing.assert_allclose(np.sum(found[1] * direction), (forth - back) / (2 * step), rtol=1e-3, atol=1e-6)


def test_what_has_weight_zero_has_no_influence_on_local_ncc(gradient):
    a, b = pair((12, 9), batch=2)
    weights = masks((12, 9))
    other = np.where(weights > 0, b, np.float32(np.nan))

    def loss(x, weights=weights):
        return local_ncc(a, x, 5, weights=weights)

    np.testing.assert_array_equal(loss(other), loss(b))
    np.testing.assert_array_equal(gradient(loss, other), gradient(loss, b))
    assert not gradient(loss, b)[weights == 0].any()
    nothing = np.zeros_like(weights)
    np.testing.assert_array_equal(loss(b, nothing), np.ones(2))
    assert not gradient(lambda x: loss(x, nothing), b).any()


def test_local_ncc_is_accurate_beside_a_bright_region(gradient):
    a, b = pair((40, 50), batch=1)
    a, b = 0.1 * a, 0.1 * b
    a[:, :, :12] += 1000
    b[:, 30:] += 1000
    expected = brute_force_local_ncc(a[0, :20, 20:], b[0, :20, 20:], 3, 1e-8)
    weights = np.zeros_like(a)
    weights[:, :20, 20:] = 1
    np.testing.assert_allclose(local_ncc(a, b, 3, weights=weights), [expected], atol=1e-5)


def test_local_ncc_of_sizes_that_are_known_only_when_it_runs():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has such sizes")
    import tensorflow as tf

    unknown = tf.TensorSpec((None, None, None, 2))
    traced = tf.function(local_ncc, input_signature=[unknown, unknown])
    for shape in [(12, 9), (5, 16)]:
        a, b = pair(shape, channels=2)
        np.testing.assert_allclose(traced(a, b), local_ncc(a, b), atol=1e-6)


@pytest.mark.parametrize("window", [0, 2.5, (3, 3), (3, 3, 0), "9"])
def test_a_window_that_is_none(window):
    a, b = pair((7, 6, 8))
    with pytest.raises(ValueError, match="positive whole number of voxels, or one for each of the 3 spatial axes. Rec"):
        local_ncc(a, b, window)


def test_local_ncc_of_faint_texture_with_itself_is_zero():
    a = 0.5 + 0.05 * pair((20, 20))[0]  # standard deviation 0.014
    np.testing.assert_allclose(local_ncc(a, a), np.zeros(3), atol=0.3)
    np.testing.assert_allclose(local_ncc(10 * a, 10 * a), np.zeros(3), atol=1e-3)
    np.testing.assert_allclose(local_ncc(10 * a, -20 * a + 3), np.zeros(3), atol=1e-3)


def test_mean_squared_error():
    a, b = pair((12, 9), channels=2)
    np.testing.assert_allclose(mean_squared_error(a, b), np.mean((a - b) ** 2, axis=(1, 2, 3)), rtol=1e-5)
    assert not np.any(mean_squared_error(a, a))
