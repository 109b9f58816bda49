"""The way there and back, against maps whose composition is known."""

import numpy as np
import pytest

from acreg.geometry import Affine, Displacement, Grid, Transform
from acreg.registration.consistency import inverse_consistency

GRID = Grid((40, 30), (2.0, 1.0))
EVERYWHERE = np.ones(GRID.shape, bool)


def shift(*by):
    matrix = np.eye(3)
    matrix[:2, 2] = by
    return Transform(GRID, GRID, (Affine(matrix),))


def test_an_inverse_misses_nothing_and_a_wrong_one_by_the_distance_in_mm():
    assert inverse_consistency(shift(4, 3), shift(-4, -3), EVERYWHERE) == pytest.approx((0, 0), abs=1e-9)
    assert inverse_consistency(shift(4, 3), shift(-1, 1), EVERYWHERE) == pytest.approx((5, 5))


def test_mean_and_percentile_are_over_the_content():
    """The way back errs by the column number in voxels of 1 mm; counted are columns 0 to 10."""
    error = np.zeros((*GRID.shape, 2))
    error[..., 1] = np.arange(30)
    back = Transform(GRID, GRID, (Displacement(error, GRID),))
    content = EVERYWHERE & (np.arange(30) <= 10)
    found = inverse_consistency(shift(0, 0), back, content)
    assert found.mean == pytest.approx(5) and found.p95 == pytest.approx(10)
    assert str(found) == "mean 5.00 mm, 95 % below 10.00 mm"


def test_points_outside_the_moving_image_do_not_count():
    """There is nothing to register."""
    border = EVERYWHERE & (np.arange(30) >= 28)
    assert inverse_consistency(shift(0, 5), shift(0, 0), border) is None
    assert inverse_consistency(shift(0, 0), shift(0, 0), np.zeros(GRID.shape, bool)) is None
