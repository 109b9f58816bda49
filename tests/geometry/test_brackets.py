"""Lie brackets against linear velocities, whose flows are matrix exponentials."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm, logm

from acreg.geometry.brackets import derivative, lie_bracket, symmetric_composition

FIRST, SECOND = np.array([[0.1, 0.4], [-0.2, 0.3]]), np.array([[-0.3, 0.2], [0.5, 0.1]])


def linear(matrix: np.ndarray) -> np.ndarray:
    """The velocity `matrix (p - middle)` on 9 x 11 voxels, whose derivatives are found exactly."""
    return (np.stack(np.indices((9, 11)), axis=-1) - [4, 5]) @ matrix.T


def miss(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found - linear(exact)).max())


def test_the_bracket_is_the_second_term_of_a_composition() -> None:
    v, u = linear(FIRST), linear(SECOND)
    exact = logm(expm(0.1 * FIRST) @ expm(0.1 * SECOND))
    plain = 0.1 * (v + u)
    assert miss(plain + lie_bracket(0.1 * v, 0.1 * u) / 2, exact) < 0.05 * miss(plain, exact)


def test_the_symmetric_composition_is_right_to_third_order() -> None:
    errors = []
    for scale in (0.5, 0.25):
        v, u = scale * linear(FIRST), scale * linear(SECOND)
        half = expm(scale * FIRST / 2)
        exact = logm(half @ expm(scale * SECOND) @ half)
        errors.append(miss(symmetric_composition(v, u), exact))
        assert errors[-1] < 0.1 * miss(v + u, exact)
        np.testing.assert_array_equal(symmetric_composition(-v, -u), -symmetric_composition(v, u))
    assert errors[1] < errors[0] / 20  # the next term is of fifth order


def test_nothing_changes_along_an_axis_of_one_voxel() -> None:
    assert not derivative(np.full((1, 5), 3.0), 0).any()
    np.testing.assert_allclose(derivative(np.arange(5.0)[None], 1, side=2.0), np.full((1, 5), 0.5))
