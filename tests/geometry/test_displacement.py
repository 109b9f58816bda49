import itertools

import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.geometry import displacement as module
from acreg.geometry import jacobian_determinant, warp_array


def identity(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(float)


def brute_force_warp(array, u):
    """Linear interpolation, voxel by voxel, clamped to the edge."""
    result = np.zeros(u.shape[:-1])
    for p in np.ndindex(result.shape):
        point = np.clip(np.array(p) + u[p], 0, np.array(array.shape) - 1)
        low = np.floor(point).astype(int)
        for corner in itertools.product((0, 1), repeat=array.ndim):
            index = np.minimum(low + corner, np.array(array.shape) - 1)
            weight = np.prod(np.where(corner, point - low, 1 - (point - low)))
            result[p] += weight * array[tuple(index)]
    return result


@pytest.mark.parametrize("shape", [(9, 11), (5, 6, 7)])
@pytest.mark.parametrize("slab", [10, 1 << 19])
def test_warp_equals_brute_force(shape, slab, monkeypatch):
    monkeypatch.setattr(module, "SLAB_VOXELS", slab)
    rng = np.random.default_rng(0)
    array = rng.normal(size=shape)
    u = rng.normal(scale=3, size=(*shape, len(shape))).astype(np.float32)
    warped = warp_array(array, u)
    assert warped.dtype == np.float32
    np.testing.assert_allclose(warped, brute_force_warp(array, u), atol=1e-5)


def test_nearest_keeps_values_and_dtype():
    labels = np.random.default_rng(0).choice([0, 3, 8], size=(9, 11)).astype(np.int32)
    u = np.broadcast_to([0.4, -0.4], (9, 11, 2))
    warped = warp_array(labels, u, order=0)
    assert warped.dtype == np.int32
    np.testing.assert_array_equal(warped, labels)


def test_component_d_moves_along_axis_d():
    array = identity((6, 8))[..., 0] * 10 + identity((6, 8))[..., 1]
    u = np.broadcast_to([1.0, 2.0], (6, 8, 2))
    assert warp_array(array, u)[2, 3] == 10 * 3 + 5


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("slab", [1, 40, 1 << 19])
def test_determinant_of_a_linear_field_is_the_matrix_determinant(rank, slab, monkeypatch):
    monkeypatch.setattr(module, "SLAB_VOXELS", slab)
    shape = (7, 8, 9)[:rank]
    matrix = np.random.default_rng(rank).normal(scale=0.4, size=(rank, rank))
    det = jacobian_determinant(identity(shape) @ matrix.T)
    assert det.shape == shape
    np.testing.assert_allclose(det, np.linalg.det(np.eye(rank) + matrix), rtol=1e-10)


def test_identity_has_determinant_one():
    assert (jacobian_determinant(np.zeros((6, 7, 2), np.float32)) == 1).all()


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 4, 2), (4, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(AcregError, match="without a batch axis"):
        jacobian_determinant(np.zeros(shape))


def test_axes_must_agree():
    with pytest.raises(AcregError, match="3 axes cannot be warped by a displacement with 2"):
        warp_array(np.zeros((4, 4, 4)), np.zeros((4, 4, 2)))
    with pytest.raises(AcregError, match="at least 2 voxels"):
        jacobian_determinant(np.zeros((1, 4, 2)))
