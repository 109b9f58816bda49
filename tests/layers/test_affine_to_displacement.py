"""Rigid, similarity and affine maps against SciPy, and what a network needs of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.layers import AffineToDisplacement, SpatialTransformer, functional

SHAPES = [(7, 10), (5, 8, 6)]
KINDS = ["rigid", "similarity", "affine"]


def random_parameters(kind: str, rank: int, size: float = 0.3, batch: int = 2) -> np.ndarray:
    count = AffineToDisplacement.count(kind, rank)
    return np.random.default_rng(count).uniform(-size, size, (batch, count)).astype(np.float32)


def linear_part(kind: str, parameters: np.ndarray, rank: int) -> np.ndarray:
    """By SciPy's rotations."""
    if kind == "affine":
        return np.eye(rank) + parameters.reshape(rank, rank + 1)[:, :rank]
    if rank == 2:
        turn = Rotation.from_rotvec([0, 0, parameters[0]]).as_matrix()[:2, :2]
    else:
        turn = Rotation.from_rotvec(parameters[:3]).as_matrix()
    return turn * (np.exp(parameters[-1]) if kind == "similarity" else 1.0)


def translation(kind: str, parameters: np.ndarray, rank: int) -> np.ndarray:
    if kind == "affine":
        return parameters.reshape(rank, rank + 1)[:, rank]
    start = 1 if rank == 2 else 3
    return parameters[start : start + rank]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_map_is_the_matrix_about_the_centre(kind: str, shape: tuple[int, ...]) -> None:
    rank, parameters = len(shape), random_parameters(kind, len(shape))
    layer = AffineToDisplacement(kind)
    found, matrices = layer(parameters, np.zeros((2, *shape, 1), np.float32)), layer.matrix(parameters, shape)
    centre, half = (np.array(shape) - 1) / 2, max(shape) / 2
    p = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    for i in range(2):
        expected = (p - centre) @ linear_part(kind, parameters[i], rank).T + centre
        expected += half * translation(kind, parameters[i], rank)
        np.testing.assert_allclose(found[i], expected - p, atol=2e-5)
        matrix = np.asarray(matrices[i])
        np.testing.assert_allclose(p @ matrix[:, :rank].T + matrix[:, rank], expected, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_zero_is_exactly_the_identity_and_has_a_finite_gradient(kind: str, shape: tuple[int, ...]) -> None:
    rank = len(shape)
    layer = AffineToDisplacement(kind)
    zeros = np.zeros((1, AffineToDisplacement.count(kind, rank)), np.float32)
    like = np.zeros((1, *shape, 1), np.float32)
    np.testing.assert_array_equal(layer(zeros, like), 0)
    # A step along each parameter, by its difference quotient: none is without effect at the identity.
    for k in range(zeros.shape[1]):
        step = np.eye(zeros.shape[1], dtype=np.float32)[k : k + 1] * 1e-2
        moved = ops.convert_to_numpy(layer(step, like))
        assert np.isfinite(moved).all() and np.abs(moved).max() > 5e-3


def test_the_parameters_of_a_known_map_are_found_by_descent() -> None:
    truth = np.array([[0.2, -0.1, 0.15, 0.05, 0.1, -0.05]], np.float32)
    like = np.zeros((1, 8, 9, 7, 1), np.float32)
    wanted = AffineToDisplacement("rigid")(truth, like)
    inputs = keras.Input((1,))
    model = keras.Model(
        inputs,
        AffineToDisplacement("rigid")(
            keras.layers.Dense(6, use_bias=False, kernel_initializer="zeros")(inputs), keras.ops.zeros(like.shape)
        ),
    )
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss="mse", jit_compile=False)
    for _ in range(150):
        model.train_on_batch(np.ones((1, 1), np.float32), wanted)
    np.testing.assert_allclose(model.get_weights()[0], truth, atol=2e-3)


def test_an_image_is_moved_as_scipy_moves_it() -> None:
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(20, 24)), 2).astype(np.float32)
    layer, parameters = AffineToDisplacement("similarity"), random_parameters("similarity", 2, 0.2, 1)
    warped = SpatialTransformer()(image[None, ..., None], layer(parameters, image[None, ..., None]))
    matrix = np.asarray(layer.matrix(parameters, image.shape)[0])
    expected = ndimage.affine_transform(image, matrix[:, :2], matrix[:, 2], order=1, mode="nearest")
    np.testing.assert_allclose(warped[0, ..., 0], expected, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_displacement_before_the_map_is_warping_twice(shape: tuple[int, ...]) -> None:
    rank, rng = len(shape), np.random.default_rng(1)
    fine = tuple(6 * n for n in shape)
    image = ndimage.gaussian_filter(rng.normal(size=fine), 6)[None, ..., None].astype(np.float32)
    d = np.stack([ndimage.gaussian_filter(rng.normal(size=fine), 8) for _ in range(rank)], -1)[None]
    d = (d / np.abs(d).max() * 2).astype(np.float32)
    parameters = random_parameters("affine", rank, 0.05, 1)
    affine = AffineToDisplacement()(parameters, image)
    total = functional.affine_displacement(AffineToDisplacement().matrix(parameters, fine), fine, d)
    twice = functional.warp(functional.warp(image, affine), d)
    inner = (0, *[slice(6, -6)] * rank, 0)
    once = ops.convert_to_numpy(functional.warp(image, total))
    assert np.abs(once - ops.convert_to_numpy(twice))[inner].max() < 0.02 * np.ptp(image)
    np.testing.assert_allclose(
        ops.convert_to_numpy(total)[inner], ops.convert_to_numpy(functional.compose(affine, d))[inner],
        atol=1e-3,
    )  # fmt: skip


def test_half_precision_and_configuration() -> None:
    layer = AffineToDisplacement("rigid", dtype="mixed_float16")
    parameters = ops.cast(random_parameters("rigid", 3), "float16")
    found = layer(parameters, np.zeros((2, 200, 4, 4, 1), np.float32))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    again = AffineToDisplacement.from_config(layer.get_config())
    np.testing.assert_array_equal(found, again(ops.cast(parameters, "float32"), np.zeros((2, 200, 4, 4, 1))))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`kind` must be one of \('rigid', 'similarity', 'affine'\)"):
        AffineToDisplacement("shear")
    with pytest.raises(ValueError, match=r"12 for affine. Received: parameters.shape=\(1, 6\)"):
        AffineToDisplacement()(np.zeros((1, 6)), np.zeros((1, 4, 4, 4, 1)))
    with pytest.raises(ValueError, match=r"grid of 2 or 3 axes"):
        AffineToDisplacement()(np.zeros((1, 6)), np.zeros((1, 4, 1)))
