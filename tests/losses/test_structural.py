import keras
import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from acreg.losses import ms_ssim, ssim
from acreg.losses.structural import scales

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]  # Wang et al. 2003, section 4.1


def pair(shape, channels=1, batch=2, seed=0):
    """Two images in [0, 1] with blobs and noise, of which the second is the first, changed."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(2, batch, *shape, channels))
    smooth = ndimage.gaussian_filter(noise, (0, 0) + (2,) * len(shape) + (0,))
    a, b = (smooth - smooth.min()) / np.ptp(smooth) * 0.8 + rng.uniform(0, 0.2, smooth.shape)
    return a.astype(np.float32), (0.7 * a + 0.3 * b).astype(np.float32)


@pytest.mark.parametrize(("shape", "channels"), [((30, 21), 1), ((11, 40), 3), ((14, 11, 17), 1), ((13, 12, 15), 2)])
@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_ssim_is_scikit_images(shape, channels, data_range):
    a, b = (data_range * x for x in pair(shape, channels))
    expected = [
        1 - structural_similarity(
            x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=data_range, channel_axis=-1
        )
        for x, y in zip(a.astype(float), b.astype(float))
    ]  # fmt: skip
    assert min(expected) > 0.05
    np.testing.assert_allclose(ssim(a, b, data_range), expected, atol=2e-6)
    np.testing.assert_allclose(ssim(a, a, data_range), np.zeros(2), atol=1e-6)


def gaussian_mean(x, size):
    """Float64 means in the Gaussian windows inside of ``x``, ``size`` voxels along each axis."""
    for axis, n in enumerate(size):
        weights = np.exp(-((np.arange(n) - n // 2) ** 2) / (2 * 1.5**2))
        windows = np.lib.stride_tricks.sliding_window_view(x, n, axis=axis)
        x = windows @ (weights / weights.sum())
    return x


def numpy_ssim(a, b, size):
    """Mean contrast-structure factor and mean similarity of two arrays without channels, at a data range of 1."""
    a, b = a.astype(float), b.astype(float)
    m, n = gaussian_mean(a, size), gaussian_mean(b, size)
    cov = gaussian_mean(a * b, size) - m * n
    both = gaussian_mean(a * a, size) - m * m + gaussian_mean(b * b, size) - n * n
    structure = (2 * cov + 0.03**2) / (both + 0.03**2)
    return structure.mean(), np.mean(structure * (2 * m * n + 0.01**2) / (m * m + n * n + 0.01**2))


@pytest.mark.parametrize(("shape", "size"), [((20, 6), (11, 5)), ((12, 9, 3), (11, 9, 3)), ((8, 8), (7, 7))])
def test_the_window_is_cut_along_a_short_axis(shape, size):
    a, b = pair(shape)
    expected = [1 - numpy_ssim(x[..., 0], y[..., 0], size)[1] for x, y in zip(a, b)]
    np.testing.assert_allclose(ssim(a, b), expected, atol=2e-6)
    np.testing.assert_allclose(ms_ssim(a, b), expected, atol=2e-6)


def numpy_ms_ssim(a, b, count):
    value = 1.0
    weights = np.array(WEIGHTS[:count]) / np.sum(WEIGHTS[:count])
    for scale, weight in enumerate(weights):
        structure, similarity = numpy_ssim(a, b, (11,) * a.ndim)
        value *= (similarity if scale == count - 1 else structure) ** weight
        even = tuple(slice(n // 2 * 2) for n in a.shape)
        blocks = [x for n in a.shape for x in (n // 2, 2)]
        a, b = (x[even].reshape(blocks).mean(axis=tuple(range(1, 2 * x.ndim, 2))) for x in (a, b))
    return value


@pytest.mark.parametrize(
    ("shape", "channels", "count"),
    [((22, 30), 1, 2), ((47, 44), 2, 3), ((190, 177), 1, 5), ((23, 25, 22), 2, 2), ((17, 30, 30), 1, 1)],
)
def test_ms_ssim_equals_numpy(shape, channels, count):
    a, b = pair(shape, channels)
    expected = [
        1 - np.mean([numpy_ms_ssim(x[..., c], y[..., c], count) for c in range(channels)]) for x, y in zip(a, b)
    ]
    np.testing.assert_allclose(ms_ssim(a, b), expected, atol=5e-6)
    np.testing.assert_allclose(ms_ssim(a, a), np.zeros(2), atol=1e-6)
    assert count == scales(min(shape))


def test_no_scale_is_smaller_than_the_window():
    assert [scales(n) for n in (8, 11, 21, 22, 43, 44, 87, 88, 175, 176, 4000)] == [1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_images_that_are_unlike_each_other_still_pull(gradient):
    """Contrasts are opposite at every scale: a product that is cut off at zero would have no gradient."""
    a, _ = pair((48, 44))
    opposite = 1 - a
    assert np.all(np.asarray(ssim(a, opposite)) > 1)  # a negative mean
    value, slope = np.asarray(ms_ssim(a, opposite)), gradient(lambda w: ms_ssim(a, w), opposite)
    assert np.all((value > 0.9) & (value < 1))
    step = 0.1 * slope / np.abs(slope).max(axis=(1, 2, 3), keepdims=True)
    assert np.all(np.asarray(ms_ssim(a, opposite - step)) < value)
    direction = [np.corrcoef(-s.ravel(), x.ravel())[0, 1] for s, x in zip(slope, a)]
    assert min(direction) > 0.1


def test_every_scale_has_a_gradient_that_lowers_it(gradient):
    a, b = pair((48, 44))
    slope = gradient(lambda w: ms_ssim(a, w), b)
    step = 0.01 * slope / np.abs(slope).max()
    assert np.isfinite(slope).all() and np.all(np.asarray(ms_ssim(a, b - step)) < np.asarray(ms_ssim(a, b)))
    constant = np.full_like(a, 0.3)
    for x, y in ((a, constant), (constant, a), (constant, constant)):
        assert np.isfinite(gradient(lambda w, x=x: ms_ssim(x, w), y)).all()


@pytest.mark.parametrize("loss", [ssim, ms_ssim])
def test_sizes_must_be_known(loss):
    image = keras.Input((None, 32, 1))
    with pytest.raises(ValueError, match=rf"`{loss.__name__}` must know .*\(None, None, 32, 1\)\. Train on images of"):
        loss(image, image)
