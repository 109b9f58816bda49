import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import mutual_info_score

from acreg.errors import AcregError
from acreg.metrics import local_correlation, normalized_mutual_information, structural_similarity


def test_ssim_is_the_formula_at_each_voxel():
    rng = np.random.default_rng(0)
    a = ndimage.gaussian_filter(rng.normal(size=(20, 24, 18)), 1.5)
    b = a + 0.3 * ndimage.gaussian_filter(rng.normal(size=a.shape), 1)

    def blur(x):
        return ndimage.gaussian_filter(x, 1.5, truncate=3.5)  # a window of 11

    span = np.ptp(a)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    maps = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert structural_similarity(a, b) == pytest.approx(maps[5:-5, 5:-5, 5:-5].mean(), abs=1e-9)
    assert structural_similarity(a, a) == 1


def test_ssim_without_a_value_is_nan_and_shapes_must_agree():
    assert np.isnan(structural_similarity(np.ones((20, 20)), np.zeros((20, 20))))
    assert np.isnan(structural_similarity(np.eye(10), np.eye(10)))
    with pytest.raises(AcregError, match=r"\(4, 4\) and \(4, 5\)"):
        structural_similarity(np.eye(4), np.zeros((4, 5)))


@pytest.mark.parametrize("shape, window", [((11, 14), 5), ((4, 9, 7), 9)])
def test_local_correlation_is_that_of_each_window(shape, window):
    rng = np.random.default_rng(1)
    a = 1e3 + rng.normal(size=shape)
    b = -2 * a + rng.normal(size=shape)
    expected = np.empty(shape)
    for at in np.ndindex(shape):
        part = tuple(slice(max(0, i - window // 2), i + window // 2 + 1) for i in at)
        expected[at] = np.corrcoef(a[part].ravel(), b[part].ravel())[0, 1]
    found = local_correlation(a, b, window)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(local_correlation(3 * a - 7, 0.1 * b + 2, window), found, atol=1e-9)
    assert expected.max() < 0


def test_local_correlation_of_constant_patches_is_0():
    a = np.full((20, 30), 0.1)
    a[:, :4] = np.random.default_rng(2).random((20, 4))
    with np.errstate(all="raise"):
        found = local_correlation(a, a)
        assert (local_correlation(np.full((9, 9), 0.3), a[:9, :9]) == 0).all()
    assert (found[:, :8] == pytest.approx(1)) and (found[:, 8:] == 0).all()
    with pytest.raises(AcregError, match=r"\(4, 4\) and \(4, 5\)"):
        local_correlation(np.eye(4), np.zeros((4, 5)))


def test_mutual_information_is_that_of_the_joint_histogram():
    """Scikit-learn's entropies of the same 32 bins; (H(a) + H(b)) / H(a, b)."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 50))
    b = np.sin(a) + 0.3 * rng.normal(size=a.shape)
    bins = []
    for x in (a, b):
        low, high = np.percentile(x, (0.5, 99.5))
        edges = np.linspace(low, high, 33)
        bins.append(np.clip(np.digitize(x.ravel(), edges) - 1, 0, 31))
    entropies = [mutual_info_score(x, x) for x in bins]
    joint = sum(entropies) - mutual_info_score(*bins)
    assert normalized_mutual_information(a, b) == pytest.approx(sum(entropies) / joint, rel=1e-6)


def test_mutual_information_knows_neither_sign_nor_scale_and_stray_voxels_do_not_decide():
    rng = np.random.default_rng(1)
    a = ndimage.gaussian_filter(rng.normal(size=(40, 50)), 2)
    other = ndimage.gaussian_filter(rng.normal(size=a.shape), 2)
    assert normalized_mutual_information(a, 7 - 3 * a) == pytest.approx(2)
    assert normalized_mutual_information(a, other) < 1.1
    stray = a.copy()
    stray[0, :3] = 1e4
    assert normalized_mutual_information(stray, a) > 1.6


def test_mutual_information_of_one_value_is_the_least_and_of_large_images_a_sample():
    a = np.random.default_rng(2).normal(size=(1200, 1300))
    assert (
        normalized_mutual_information(a, np.ones_like(a))
        == normalized_mutual_information(a[:2, :2] * 0, a[:2, :2])
        == 1
    )
    b = a + 0.5 * np.roll(a, 1)
    assert normalized_mutual_information(a, b) == pytest.approx(normalized_mutual_information(a[::2, ::2], b[::2, ::2]))
    with pytest.raises(AcregError, match="one grid"):
        normalized_mutual_information(a, a[1:])
