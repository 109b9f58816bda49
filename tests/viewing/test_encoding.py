"""What the page gets of an image: its values in few levels."""

from __future__ import annotations

import base64
import gzip

import numpy as np
import pytest

from acreg.geometry import Grid
from acreg.viewing.encoding import HEADER, LEVELS, encode_image

GRID = Grid((6, 20, 10))


def decoded(array, low, high):
    """The values as view.js computes them, and what it is told of them."""
    text, facts = encode_image(array, GRID, low, high)
    low_bytes, high_bytes = np.frombuffer(gzip.decompress(base64.b64decode(text))[HEADER:], np.uint8).reshape(2, -1)
    numbers = low_bytes + 256.0 * high_bytes
    return (numbers * facts["slope"] + facts["lowest"]).reshape(GRID.shape), facts


def test_whole_numbers_of_a_small_range_keep_their_values():
    ct = np.random.default_rng(0).integers(-1024, LEVELS - 1024, GRID.shape, endpoint=True)
    ct.flat[:2] = -1024, LEVELS - 1024
    for offset in (0, 10**7):
        values, facts = decoded(ct + offset, -100, 300)
        np.testing.assert_array_equal(values, ct + offset)
        assert facts["cut"] == [False, False]
        assert float(f"{values.max():.{facts['digits']}g}") == values.max()


@pytest.mark.parametrize("outlier", [1e6, -1e9, 3e38])
def test_a_few_values_far_away_do_not_take_the_levels_of_all_others(outlier):
    array = np.random.default_rng(0).uniform(0, 100, GRID.shape)
    array[2, 3, 4] = outlier
    values, facts = decoded(array, 0.0, 100.0)
    inside = np.abs(array) <= 100
    np.testing.assert_allclose(values[inside], array[inside], atol=100 / 40)
    assert facts["cut"] == [outlier < 0, outlier > 0]
    assert values[2, 3, 4] == pytest.approx(facts["lowest"] if outlier < 0 else facts["highest"])
    assert abs(values[2, 3, 4]) >= 2000


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, -1e30, 1e-30])
def test_an_image_of_one_value_keeps_it(value):
    values, facts = decoded(np.full(GRID.shape, value), value, value + 1)
    np.testing.assert_allclose(values, value)
    assert facts["cut"] == [False, False]
    assert 5 <= facts["digits"] <= 15
