import itertools

import numpy as np
import pytest

from acreg.losses import bending, diffusion, negative_jacobian, total_variation_mean, total_variation_sum

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


def in_space(spacing, extent=64.0):
    """A field in mm (a shear, a bend and a twist), in voxels of a grid whose outer voxels lie on one cube."""
    lines = [np.arange(round(extent / s) + 1) * s for s in spacing]
    z, y, x = np.meshgrid(*lines, indexing="ij")
    in_mm = np.stack([0.1 * x + 0.2 * y, 0.002 * z * x, 0.3 * z - 0.1 * y + 0.001 * x**2], axis=-1)
    return (in_mm / spacing)[None].astype(np.float32)


@pytest.mark.parametrize("loss", [total_variation_sum, total_variation_mean, diffusion, bending])
def test_one_field_in_space_costs_the_same_at_any_spacing(loss):
    at = [(1.0, 1.0, 1.0), (8.0, 1.28, 1.28), (2.0, 2.0, 2.0)]
    values = [float(loss(in_space(spacing), spacing=spacing)[0]) for spacing in at]
    # The mean of a slope that grows, over nine slices and over 65, and an integral over whole voxels differ somewhat.
    np.testing.assert_allclose(values, values[0], rtol=0.15)
    assert float(loss(in_space(at[0]))[0]) == pytest.approx(values[0], rel=1e-6)
    thick = float(loss(in_space(at[1]))[0])
    assert not 0.8 < thick / values[0] < 1.25, "in voxels, thick slices count differently"


@pytest.mark.parametrize("slices", [(1, 1, 1), (8, 1, 1)])
def test_a_shear_costs_the_square_of_its_slope(slices):
    """The gradient of a displacement of 0.1 mm per mm along x that grows with z; eight times that in voxels."""
    field = np.zeros((1, 64 // slices[0], 16, 16, 3), np.float32)
    field[..., 2] = 0.1 * slices[0] * np.arange(field.shape[1])[:, None, None]
    assert float(diffusion(field, spacing=slices)[0]) == pytest.approx(0.1**2 / 9, rel=1e-5)
    assert float(diffusion(field)[0]) == pytest.approx((0.1 * slices[0]) ** 2 / 9, rel=1e-5)


def test_one_slice_has_no_slope_along_its_axis():
    flat = fields((1, 7, 9), batch=1)
    for loss in (total_variation_sum, total_variation_mean, diffusion, bending):
        assert np.isfinite(np.asarray(loss(flat, spacing=(8.0, 1.0, 1.0)))).all()


@pytest.mark.parametrize("spacing", [(1.0, 2.0), (1.0, 2.0, 0.0), (1.0, 1.0, "2"), 2.0])
def test_a_spacing_is_a_positive_number_for_each_axis(spacing):
    with pytest.raises(ValueError, match=r"positive number, mm per voxel, for each of its 3 spatial axes. Received"):
        diffusion(fields((5, 6, 7)), spacing=spacing)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_negative_jacobian_is_the_mean_of_what_folds(shape):
    folded = 0.8 * fields(shape)
    gradients = np.stack([np.stack(np.gradient(f, axis=tuple(range(len(shape)))), -1) for f in folded])
    determinants = np.linalg.det(gradients + np.eye(len(shape)))
    expected = np.maximum(-determinants, 0).reshape(2, -1).mean(axis=1)
    assert (expected > 0.01).all()
    np.testing.assert_allclose(negative_jacobian(folded), expected, rtol=1e-4)
    np.testing.assert_array_equal(negative_jacobian(0.05 * fields(shape)), [0, 0])
