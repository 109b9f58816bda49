import keras
import numpy as np
import pytest

from acreg.geometry import resize_displacement
from acreg.layers import ResizeDisplacement

CASES = [((8, 10), (16, 25)), ((12, 9), (6, 9)), ((6, 5, 8), (12, 10, 4)), ((7, 7), (7, 7)), ((64, 48), (300, 200))]


@pytest.mark.parametrize(("old", "new"), CASES)
def test_equals_the_numpy_version(old, new):
    u = np.random.default_rng(0).normal(scale=3, size=(2, *old, len(old))).astype(np.float32)
    expected = np.stack([resize_displacement(x, new) for x in u])
    np.testing.assert_allclose(ResizeDisplacement(new)(u), expected, atol=1e-4 * max(1, max(new) // 100))


@pytest.mark.parametrize(("old", "new"), CASES)
def test_a_linear_field_stays_linear_and_counts_new_voxels(identity, old, new):
    rng = np.random.default_rng(1)
    rank = len(old)
    matrix, shift = rng.normal(size=(rank, rank)), rng.normal(size=rank)
    scale = np.array(old) / np.array(new)
    u = (identity(old) @ matrix.T + shift).astype(np.float32)
    resized = np.asarray(ResizeDisplacement(new)(u[None]))[0]
    position = (identity(new) + 0.5) * scale - 0.5
    inside = ((position >= 0) & (position <= np.array(old) - 1)).all(axis=-1)
    expected = (position @ matrix.T + shift) / scale
    np.testing.assert_allclose(resized[inside], expected[inside], rtol=1e-5, atol=1e-3)


def test_the_same_shape_changes_nothing():
    u = np.random.default_rng(0).normal(size=(2, 7, 9, 2)).astype(np.float32)
    np.testing.assert_array_equal(ResizeDisplacement((7, 9))(u), u)


def test_gradient_is_the_transpose(gradient):
    rng = np.random.default_rng(0)
    u, step = rng.normal(size=(2, 1, 6, 7, 2)).astype(np.float32)
    layer = ResizeDisplacement((9, 5))
    weights = rng.normal(size=(1, 9, 5, 2)).astype(np.float32)
    result = gradient(lambda x: weights * layer(x), u)
    assert np.sum(result * step) == pytest.approx(float(np.sum(weights * np.asarray(layer(step)))), abs=1e-4)


def test_errors():
    with pytest.raises(ValueError, match=r"2 or 3 sizes of at least 1. Received: shape=\(8, 0\)"):
        ResizeDisplacement((8, 0))
    with pytest.raises(ValueError, match=r"must have 3 spatial axes.*Received: displacement.shape=\(1, 4, 4, 2\)"):
        ResizeDisplacement((8, 8, 8))(np.zeros((1, 4, 4, 2), np.float32))
    with pytest.raises(ValueError, match="must have 3 spatial axes"):
        ResizeDisplacement((8, 8, 8))(keras.Input((4, 4, 2)))
