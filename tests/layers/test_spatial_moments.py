"""Pooling by moments, against sums written out."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from acreg.layers import SpatialMoments


def coordinates(shape: tuple[int, ...]) -> np.ndarray:
    p = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    return (p - (np.array(shape) - 1) / 2) / (max(shape) / 2)


@pytest.mark.parametrize("shape", [(5, 8), (4, 7, 3)])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_moments_are_the_written_out_sums(shape: tuple[int, ...], order: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)
    at, rank = coordinates(shape), len(shape)
    factors = [np.ones(shape)]
    if order >= 1:
        factors += [at[..., d] for d in range(rank)]
    if order == 2:
        factors += [at[..., d] * at[..., e] for d in range(rank) for e in range(d, rank)]
    expected = np.concatenate([(x * f[None, ..., None]).mean(axis=tuple(range(1, rank + 1))) for f in factors], axis=-1)
    np.testing.assert_allclose(SpatialMoments(order)(x), expected, atol=1e-6)


def test_a_shift_of_the_image_shows_in_the_first_moments_alone() -> None:
    image = np.zeros((1, 16, 16, 1), np.float32)
    image[:, 5:8, 5:9] = 1
    moved = np.roll(image, (3, 2), axis=(1, 2))
    one, two = (ops.convert_to_numpy(SpatialMoments(1)(x))[0] for x in (image, moved))
    np.testing.assert_allclose(one[0], two[0], rtol=1e-6)
    np.testing.assert_allclose((two - one)[1:] / one[0] * 8, [3, 2], rtol=1e-5)


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="`order` must be 0, 1 or 2. Received: order=3"):
        SpatialMoments(3)
