import itertools

import numpy as np
import pytest

from acreg.losses import bending, diffusion, total_variation_mean, total_variation_sum

SHAPES = [(7, 9), (5, 6, 7)]


def fields(shape, batch=2):
    return np.random.default_rng(0).normal(size=(batch, *shape, len(shape))).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_total_variation_is_the_sum_or_mean_of_absolute_differences(shape):
    u = fields(shape)
    differences = [[np.abs(np.diff(x, axis=d)).ravel() for d in range(len(shape))] for x in u]
    expected = [np.concatenate(d) for d in differences]
    np.testing.assert_allclose(total_variation_sum(u), [d.sum() for d in expected], rtol=1e-5)
    np.testing.assert_allclose(total_variation_mean(u), [d.mean() for d in expected], rtol=1e-5)


def test_the_papers_weight_of_the_sum_is_081_of_the_mean_at_64():
    u = fields((64, 64))
    assert 5e-5 * 16128 == pytest.approx(0.81, abs=0.005)
    np.testing.assert_allclose(5e-5 * np.asarray(total_variation_sum(u)), 0.8064 * np.asarray(total_variation_mean(u)))


@pytest.mark.parametrize("shape", SHAPES)
def test_diffusion_equals_numpy(shape):
    u = fields(shape)
    squares = [np.diff(u, axis=d + 1).reshape(len(u), -1) ** 2 for d in range(len(shape))]
    expected = np.mean([s.mean(axis=1) for s in squares], axis=0)
    np.testing.assert_allclose(diffusion(u), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_bending_equals_numpy(shape):
    u = fields(shape)
    expected = np.zeros(len(u))
    for i, j in itertools.product(range(len(shape)), repeat=2):
        second = np.diff(np.diff(u.astype(np.float64), axis=i + 1), axis=j + 1)
        expected += [np.sum(np.mean(x**2, axis=tuple(range(len(shape))))) for x in second]
    np.testing.assert_allclose(bending(u), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_costs_nothing(shape):
    rank = len(shape)
    matrix = np.random.default_rng(0).normal(size=(rank, rank))
    affine = (np.stack(np.indices(shape), -1) @ matrix + 3.0).astype(np.float32)[None]
    np.testing.assert_allclose(bending(affine), [0], atol=1e-9)
    constant = np.full((1, *shape, rank), 2.5, np.float32)
    for loss in (total_variation_sum, total_variation_mean, diffusion):
        assert loss(constant)[0] == 0
        assert loss(affine)[0] > 0.1
    squared = np.zeros((1, *shape, rank), np.float32)
    squared[..., 0] = np.stack(np.indices(shape), -1)[..., 0] ** 2
    np.testing.assert_allclose(bending(squared), [4])
