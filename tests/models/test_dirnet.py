"""DIRNet's spline, and that it learns."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from scipy.interpolate import BSpline

from acreg.data.sampling.deformation import RandomDeformation
from acreg.data.sampling.deformed_pairs import DeformedPairSampler
from acreg.models import DIRNet
from acreg.models.dirnet import b_spline


def test_the_spline_is_scipys() -> None:
    control = np.random.default_rng(0).normal(size=(1, 6, 1)).astype(np.float32)
    found = ops.convert_to_numpy(b_spline(control, [24]))[0, :, 0]
    ghosts = np.concatenate([control[0, [0] * 3, 0], control[0, :, 0], control[0, [-1] * 3, 0]])
    knots = np.arange(len(ghosts) + 4) - 2.0  # the i-th basis function is centred on i
    places = (np.arange(24) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(found, BSpline(knots, ghosts, 3)(places + 3), atol=1e-5)


@pytest.mark.parametrize("sizes", [[16, 24], [16, 20, 24]])
def test_a_linear_field_stays_linear_inside(sizes: list[int]) -> None:
    """A uniform cubic B-spline reproduces polynomials up to degree 1 from their own values."""
    points = [n // 4 for n in sizes]
    at = [(np.arange(p) + 0.5) * 4 - 0.5 for p in points]
    plane = sum(np.meshgrid(*[(i + 1) * a for i, a in enumerate(at)], indexing="ij"))[None, ..., None]
    found = ops.convert_to_numpy(b_spline(plane.astype(np.float32), sizes))[0, ..., 0]
    wanted = sum(np.meshgrid(*[(i + 1.0) * np.arange(n) for i, n in enumerate(sizes)], indexing="ij"))
    inside = (slice(6, -6),) * len(sizes)
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-3)


def test_it_learns_small_deformations() -> None:
    keras.utils.set_random_seed(0)
    rows, columns = np.mgrid[:32, :32]
    places = np.random.default_rng(0).uniform(12, 20, (6, 2))
    masks = np.stack([np.hypot(rows - r, columns - c) < 7 for r, c in places])[..., None]
    random = RandomDeformation(rotation=(0, 10), translation=(20, 30), largest_dice=1.0)
    sampler = DeformedPairSampler(0.2 + 0.6 * masks, masks.astype(np.int32), 4, 0, random)
    model = DIRNet(filters=8, levels=2, num_classes=2)
    model.compile(optimizer=keras.optimizers.Adam(5e-3))
    losses = []
    for step in range(80):
        losses.append(model.train_on_batch(sampler.batch(step), return_dict=True)["loss"])
        model.reset_metrics()
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:8])


def test_refusals() -> None:
    with pytest.raises(ValueError, match="`filters` and `levels` must be at least 1. Received: filters=16, levels=0"):
        DIRNet(levels=0)
