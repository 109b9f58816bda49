"""Losses on displacements whose true value is known."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from acreg.losses import displacement_error, endpoint_error


def test_the_displacement_error_is_its_formula_and_falls_along_its_gradient_wherever_it_begins() -> None:
    true = np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype(np.float32)
    longest = (true**2).sum(-1).max((1, 2))
    half = (0.25 * (true**2).sum(-1)).mean((1, 2)) / longest
    np.testing.assert_allclose(ops.convert_to_numpy(displacement_error(true, true / 2)), -np.log(1 - half), rtol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(displacement_error(true, true)), 0, atol=1e-6)
    # far off, where 1 - r would be negative, it still rises with the distance
    far = ops.convert_to_numpy(ops.stack([displacement_error(true, true + away)[0] for away in (0.0, 2.0, 4.0, 8.0)]))
    assert np.isfinite(far).all() and (np.diff(far) > 0).all()
    assert np.diff(far)[-1] / np.diff(far)[-2] == pytest.approx((64 - 16) / (16 - 4), rel=0.05)


@pytest.mark.parametrize("shape", [(7, 6), (5, 4, 6)])
def test_the_endpoint_error_is_the_mean_length(shape: tuple[int, ...]) -> None:
    true, found = np.random.default_rng(0).normal(size=(2, 3, *shape, len(shape))).astype(np.float32)
    expected = np.linalg.norm(true - found, axis=-1).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(endpoint_error(true, found)), expected, rtol=1e-4)
    assert ops.convert_to_numpy(endpoint_error(true, true)).max() <= 1.1e-3  # the root of what keeps it smooth at 0
