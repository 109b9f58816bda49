import numpy as np
import pytest
from scipy import ndimage

from acreg.errors import AcregError
from acreg.metrics import structural_similarity


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
