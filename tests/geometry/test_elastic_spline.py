"""The elastic body spline: its landmarks, affine maps, and the equation of elasticity."""

from __future__ import annotations

import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.geometry.elastic_spline import ElasticBodySpline


@pytest.mark.parametrize("rank", [2, 3])
def test_landmarks_are_interpolated(rank: int) -> None:
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(-20, 60, (150, rank))
    moved = rng.normal(size=(2, 150, rank))
    found = ElasticBodySpline(landmarks).interpolate(moved, landmarks)
    np.testing.assert_allclose(found, moved, atol=1e-5)


@pytest.mark.parametrize("rank", [2, 3])
def test_affine_maps_are_reproduced_everywhere(rank: int) -> None:
    rng = np.random.default_rng(1)
    matrix, shift = rng.normal(size=(rank, rank)), rng.normal(size=rank)
    landmarks, points = rng.uniform(0, 40, (30, rank)), rng.uniform(-100, 100, (200, rank))
    for smoothing in (0.0, 0.5):
        found = ElasticBodySpline(landmarks, smoothing=smoothing).interpolate(landmarks @ matrix.T + shift, points)
        np.testing.assert_allclose(found, points @ matrix.T + shift, atol=1e-6)


@pytest.mark.parametrize(("rank", "poisson_ratio"), [(2, 0.3), (3, 0.3), (3, 0.0), (3, 0.45)])
def test_the_kernel_solves_the_equation_of_elasticity(rank: int, poisson_ratio: float) -> None:
    # Navier: div grad u + grad div u / (1 - 2 nu) is minus the force, here c |x|, over the shear modulus.
    spline = ElasticBodySpline(np.eye(rank + 1)[:, :rank], poisson_ratio)
    origin = spline.landmarks[-1]
    force, step = np.array([1.0, -0.5, 0.3])[:rank], 1e-3

    def u(points: np.ndarray) -> np.ndarray:
        columns = spline._kernel(spline._scaled(points)).reshape(len(points), rank, -1, rank)
        return columns[:, :, -1] @ force * spline._scale**3

    def second(point: np.ndarray, i: int, j: int) -> np.ndarray:
        a, b = step * np.eye(rank)[[i, j]]
        ends = u(np.stack([point + a + b, point + a - b, point - a + b, point - a - b]))
        return (ends[0] - ends[1] - ends[2] + ends[3]) / (4 * step**2)

    constants = []
    for point in np.random.default_rng(2).uniform(-2, 2, (5, rank)):
        laplacian = sum(second(point, i, i) for i in range(rank))
        divergence = [sum(second(point, i, j)[j] for j in range(rank)) for i in range(rank)]
        left = laplacian + np.array(divergence) / (1 - 2 * poisson_ratio)
        length = np.linalg.norm(point - origin)
        constant = left @ force / (force @ force * length)
        np.testing.assert_allclose(left, constant * length * force, atol=2e-4 * abs(constant))
        constants.append(constant)
    np.testing.assert_allclose(constants, constants[0], rtol=1e-3)


def test_smoothing_takes_noise_off_the_landmarks() -> None:
    rng = np.random.default_rng(4)
    landmarks = rng.uniform(0, 40, (300, 3))
    true = np.sin(landmarks / 15)
    noisy = true + rng.normal(0, 0.3, true.shape)
    errors = [
        np.abs(ElasticBodySpline(landmarks, smoothing=s).interpolate(noisy, landmarks) - true).mean()
        for s in (0.0, 0.1, 0.5)
    ]
    assert errors[0] == pytest.approx(0.3 * np.sqrt(2 / np.pi), rel=0.1)
    assert errors[2] < errors[1] < 0.8 * errors[0]
    with pytest.raises(AcregError, match="0 or more. Received: smoothing=-1"):
        ElasticBodySpline(landmarks, smoothing=-1)


def test_units_of_length_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    landmarks, moved, points = rng.uniform(0, 1, (40, 3)), rng.normal(size=(40, 3)), rng.uniform(0, 1, (50, 3))
    near = ElasticBodySpline(landmarks).interpolate(moved, points)
    far = ElasticBodySpline(1e4 * landmarks + 1e5).interpolate(moved, 1e4 * points + 1e5)
    np.testing.assert_allclose(near, far, atol=1e-5)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.eye(3), "at least 4 landmarks. Received: 3"),
        (np.eye(3)[:, :2][:2], "at least 3 landmarks. Received: 2"),
        (np.vstack([np.eye(3), np.zeros(3), np.zeros(3)]), "differ from each other. Received: numbers 3 and 4"),
        (np.random.default_rng(0).uniform(size=(9, 3)) * [1, 1, 0], "do not all lie in one plane. Received: 9"),
        (np.full((5, 3), np.nan), "finite points"),
    ],
)
def test_landmarks_that_fix_no_spline_are_refused(landmarks: np.ndarray, message: str) -> None:
    with pytest.raises(AcregError, match=message):
        ElasticBodySpline(landmarks)


def test_other_numbers_of_displacements_are_refused() -> None:
    spline = ElasticBodySpline(np.random.default_rng(0).uniform(size=(9, 3)))
    with pytest.raises(AcregError, match=r"takes as many finite displacements.*\(8, 3\)"):
        spline.interpolate(np.zeros((8, 3)), np.zeros((1, 3)))
