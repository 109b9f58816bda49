import numpy as np
import pytest

from acreg.layers.boxes import box_counts, box_sum

SHAPES_AND_WINDOWS = [((17,), (9,)), ((12, 9), (3, 5)), ((7, 6, 8), (4, 1, 7)), ((3, 5), (9, 2)), ((1, 6), (5, 11))]


def brute_force(x, window):
    """For each voxel, the sum over the part of its box that lies in the image."""
    sums = np.zeros(x.shape)
    for p in np.ndindex(x.shape):
        sums[p] = x[tuple(slice(max(0, i - (n - 1) // 2), i + n // 2 + 1) for i, n in zip(p, window))].sum()
    return sums


@pytest.mark.parametrize(("shape", "window"), SHAPES_AND_WINDOWS)
def test_box_sums_equal_brute_force(shape, window):
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    np.testing.assert_allclose(box_sum(x, window), [brute_force(s, window) for s in x], atol=1e-5)


@pytest.mark.parametrize(("shape", "window"), SHAPES_AND_WINDOWS)
def test_the_mirrored_box_sum_is_the_adjoint(shape, window):
    x, y = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    forth, back = np.sum(box_sum(x, window) * y), np.sum(x * box_sum(y, window, mirrored=True))
    np.testing.assert_allclose(forth, back, rtol=1e-4)


@pytest.mark.parametrize(("shape", "window"), SHAPES_AND_WINDOWS)
def test_box_counts_are_box_sums_of_ones(shape, window):
    ones = np.ones(shape, np.float32)
    product = np.ones(())
    for along in box_counts(ones, window):
        product = product * np.asarray(along)
    np.testing.assert_array_equal(product, box_sum(ones, window))
