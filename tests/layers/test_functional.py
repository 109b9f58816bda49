import numpy as np
import pytest

from acreg import geometry
from acreg.layers import functional


@pytest.mark.parametrize("shape", [(7, 8), (6, 7, 8)])
def test_determinant_of_a_linear_field_is_that_of_its_matrix(identity, shape):
    rank = len(shape)
    matrices = np.random.default_rng(0).normal(scale=0.5, size=(3, rank, rank))
    u = np.stack([identity(shape) @ m.T for m in matrices]).astype(np.float32)
    expected = np.linalg.det(np.eye(rank) + matrices).reshape((3,) + (1,) * rank)
    determinant = functional.jacobian_determinant(u)
    np.testing.assert_allclose(determinant, np.broadcast_to(expected, (3, *shape)), atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 9), (7, 8), (3, 4, 5)])
def test_determinant_equals_the_numpy_version_up_to_the_border(shape):
    u = np.random.default_rng(0).normal(size=(2, *shape, len(shape))).astype(np.float32)
    expected = np.stack([geometry.jacobian_determinant(x) for x in u])
    np.testing.assert_allclose(functional.jacobian_determinant(u), expected, atol=1e-4)


def test_share_of_a_field_that_folds_in_known_rows():
    u = np.zeros((1, 100, 10, 2), np.float32)
    u[..., 0] = np.maximum(0, -2.0 * (np.arange(100) - 30))[:, None]
    determinant = np.asarray(functional.jacobian_determinant(u))[0]
    # Backwards in rows 0 to 29; at the kink, row 30, the central difference is exactly 0; then the identity.
    assert (determinant[:30] == -1).all() and (determinant[30] == 0).all() and (determinant[31:] == 1).all()
    assert np.mean(determinant <= 0) == pytest.approx(0.31)


@pytest.mark.parametrize(("old", "new"), [((6, 9), (12, 5)), ((4, 5, 6), (8, 10, 3))])
def test_resize_keeps_constants_and_the_extent(identity, old, new):
    constant = np.full((2, *old, 3), 0.7, np.float32)
    np.testing.assert_allclose(functional.resize(constant, new), np.full((2, *new, 3), 0.7), rtol=1e-6)
    positions = np.asarray(functional.resize(identity(old)[None], new))[0]
    scale = np.array(old) / np.array(new)
    expected = np.clip((identity(new) + 0.5) * scale - 0.5, 0, np.array(old) - 1)
    np.testing.assert_allclose(positions, expected, atol=1e-5)
