"""The logarithm: a velocity whose flow is the displacement."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry import Grid, Velocity, folding
from acreg.geometry.logarithm import logarithm


def smooth_velocity(shape: tuple[int, ...], largest: float, seed: int) -> np.ndarray:
    """Random, and 0 at the border, beyond which nothing is known."""
    rng = np.random.default_rng(seed)
    sigma = [n / 8 for n in shape]
    v = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), sigma) for _ in shape], axis=-1)
    for axis, n in enumerate(shape):
        v *= np.sin(np.linspace(0, np.pi, n)).reshape([-1 if d == axis else 1 for d in range(v.ndim)])
    return v * (largest / np.abs(v).max())


@pytest.mark.parametrize(("shape", "largest", "seed"), [((48, 40), 6, 0), ((24, 20, 28), 3, 1), ((12, 32, 32), 1, 2)])
def test_the_flow_of_the_logarithm_is_the_displacement(shape: tuple[int, ...], largest: float, seed: int) -> None:
    flow = Velocity(smooth_velocity(shape, largest, seed), Grid(shape)).displacement.vectors
    found = logarithm(flow)
    assert found.mean_residual < 0.02
    again = Velocity(found.velocity, Grid(shape)).displacement.vectors
    assert np.linalg.norm(again - flow, axis=-1).max() < 0.25


def test_it_is_the_velocity_that_made_the_flow() -> None:
    v = smooth_velocity((40, 40), 3, 3)
    found = logarithm(Velocity(v, Grid((40, 40))).displacement.vectors).velocity
    assert np.abs(found - v).max() < 0.15


def test_minus_the_logarithm_is_that_of_the_inverse() -> None:
    u = Velocity(smooth_velocity((40, 40), 4, 4), Grid((40, 40))).displacement
    back = Velocity(-logarithm(u.vectors).velocity, Grid((40, 40))).displacement.vectors
    assert np.abs(back - u.inverse()[0].vectors).max() < 0.2


def test_a_fold_is_not_kept_and_shows_in_the_residual() -> None:
    u = np.zeros((32, 32, 2))
    u[12:20, 12:20, 0] = np.linspace(6, -6, 8)[:, None]
    assert folding(u)["folded_percent"] > 0
    found = logarithm(u)
    assert found.largest_residual > 0.5
    assert folding(Velocity(found.velocity, Grid((32, 32))).displacement.vectors)["folded_percent"] == 0


def test_what_has_no_logarithm_is_refused() -> None:
    with pytest.raises(AcregError, match="finite. Received: 1 values"):
        logarithm(np.pad(np.full((1, 1, 2), [np.nan, 0.0]), ((0, 3), (0, 3), (0, 0))))
    with pytest.raises(AcregError, match="moves all of them out"):
        logarithm(np.full((8, 8, 2), 100.0))
