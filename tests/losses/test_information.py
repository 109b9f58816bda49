import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from acreg.losses import mutual_information

SHAPES = [(40, 36), (12, 10, 11)]
NARROW = 0.1  # the neighbouring bins get exp(-50) of a voxel: as good as none


def quantised(shape, bins, batch=2):
    """Bin numbers of two images that tell something of each other, without order: bin k of the one makes 3k likely."""
    rng = np.random.default_rng(0)
    a = rng.integers(bins, size=(batch, *shape, 1))
    b = np.where(rng.uniform(size=a.shape) < 0.6, 3 * a % bins, rng.integers(bins, size=a.shape))
    return a, b


@pytest.mark.parametrize("bins", [8, 32])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_histogram_of_images_on_the_bins_centres(shape, bins):
    pair = quantised(shape, bins)
    found = mutual_information(*((x / (bins - 1)).astype(np.float32) for x in pair), bins=bins, width=NARROW)
    for value, a, b in zip(np.asarray(found), *pair, strict=True):
        joint, _, _ = np.histogram2d(a.ravel(), b.ravel(), bins=np.arange(bins + 1) - 0.5)
        of_a, of_b, of_both = (entropy(x.ravel()) for x in (joint.sum(axis=1), joint.sum(axis=0), joint))
        np.testing.assert_allclose(value, 2 - (of_a + of_b) / of_both, atol=1e-5)
        np.testing.assert_allclose((1 - value) * of_both, mutual_info_score(a.ravel(), b.ravel()), atol=1e-4)


def smooth_pair():
    x = np.linspace(0, 1, 900, dtype=np.float32).reshape(1, 30, 30, 1)
    return x, (0.5 + 0.5 * np.sin(9 * x)).astype(np.float32)


def test_does_not_see_that_an_image_is_inverted_or_its_bins_renamed():
    a, b = smooth_pair()
    expected = np.asarray(mutual_information(a, b))
    assert expected[0] < 0.8
    for x, y in ((1 - a, b), (a, 1 - b), (b, a)):
        np.testing.assert_allclose(mutual_information(x, y), expected, atol=1e-5)
    bins = quantised((40, 36), 32)[0]
    renamed = np.random.default_rng(1).permutation(32)[bins]
    np.testing.assert_allclose(mutual_information(bins / 31, renamed / 31, width=NARROW), np.zeros(2), atol=1e-5)


def test_is_lowest_for_an_image_with_itself():
    a, b = smooth_pair()
    own = mutual_information(a, a)[0]
    assert 0 < own < mutual_information(a, b)[0] < 1
    assert mutual_information(a, a, width=0.2)[0] < own
    other = np.random.default_rng(0).permutation(a.ravel()).reshape(a.shape)
    assert own < mutual_information(a, 0.9 * a + 0.1 * other)[0] < mutual_information(a, other)[0]


@pytest.mark.parametrize("width", [0.5, NARROW])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_image_tells_nothing(value, width, gradient):
    a, _ = smooth_pair()
    constant = np.full_like(a, value)
    for x, y in ((a, constant), (constant, a), (constant, constant)):
        np.testing.assert_allclose(mutual_information(x, y, width=width), [1.0], atol=1e-4)
        assert np.isfinite(gradient(lambda w, x=x: mutual_information(x, w, width=width), y)).all()


def test_what_lies_beyond_the_bins_is_in_the_outermost_ones(gradient):
    a, b = smooth_pair()
    beyond = np.where(b > 0.999, np.float32(500.0), b)
    np.testing.assert_allclose(mutual_information(a, beyond), mutual_information(a, b), atol=0.01)
    slope = gradient(lambda w: mutual_information(a, w), beyond)
    assert np.isfinite(slope).all() and not slope[beyond > 1].any() and slope.any()
