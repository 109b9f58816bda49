"""SYMNet's two directions: its displacement and the inverse undo each other, and its losses act on the right images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from acreg.layers import functional
from acreg.losses import local_ncc, negative_jacobian
from acreg.models import SYMNet

Make = Callable[..., Any]


def of(values: Any, *names: str) -> list[np.ndarray]:
    return [ops.convert_to_numpy(values[name]) for name in names]


def test_the_number_of_weights_is_that_of_the_published_code() -> None:
    assert SYMNet().count_params() == 1_124_448
    header = 3_464_633 - 4 * SYMNet(filters=7).count_params()  # the size of their file of weights, which has 7 filters
    assert 0 < header < 20_000


@pytest.mark.parametrize("kind", ["symnet", "symnet-3d"])
@pytest.mark.parametrize("extra", [0, 3])
def test_both_directions_meet_in_the_middle(kind: str, extra: int, make_model: Make, make_batch: Make) -> None:
    model = make_model(kind)
    for name, along in (("head_velocity", (1, -0.5, 0.3)), ("head_inverse_velocity", (-0.6, 0.8, 0.2))):
        kernel = model.network.get_layer(name).kernel  # means of features: smoother than by shaken weights
        kernel.assign(3 * np.ones(kernel.shape) * along[: model.rank] / np.prod(kernel.shape[:-1]))
    batch = make_batch(model, shape=(16 + extra,) * model.rank, labels=False)
    found = model(batch)
    values = model.loss_values(batch, found, None, False)
    there, back = of(values, "displacement", "inverse_displacement")
    assert there.shape == back.shape == (2, *(16 + extra,) * model.rank, model.rank)
    assert 0.1 < np.abs(there).max() < 2
    both = ops.convert_to_numpy(functional.compose(there, back))
    inside = (slice(None), *(slice(4, -4),) * model.rank)
    np.testing.assert_allclose(both[inside], 0, atol=0.06 * np.abs(there).max())

    # A ramp is interpolated exactly: in the middle, and moved on by the other half, it is the result.
    ramp = np.float32(np.arange(16 + extra).reshape(-1, *(1,) * model.rank) * np.ones_like(batch["moving"]))
    sizes = batch["fixed"].shape[1:-1]
    other = model._to_image_grid(functional.integrate(-found["inverse_velocity"] / 2, model._steps), sizes)
    middle = model.loss_values({**batch, "moving": ramp}, found, None, False)["moving_middle"]
    expected = ops.convert_to_numpy(functional.warp(ramp, found["displacement"]))
    result = ops.convert_to_numpy(functional.warp(middle, other))
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-4)


def test_equal_and_opposite_velocities_are_one_velocity() -> None:
    """With ``w = -v`` the transform is ``exp(v)``."""
    model = SYMNet(rank=2, filters=1, velocity_limit=3.0)
    kernel = np.random.default_rng(0).normal(0, 0.02, (5, 5, 2, 2))
    model.network.get_layer("head_velocity").set_weights([kernel])
    model.network.get_layer("head_inverse_velocity").set_weights([-kernel])
    rng = np.random.default_rng(1)
    found = model({name: rng.uniform(size=(1, 32, 32, 1)).astype(np.float32) for name in ("fixed", "moving")})
    velocity, inverse, displacement = of(found, "velocity", "inverse_velocity", "displacement")
    np.testing.assert_allclose(inverse, -velocity, atol=1e-6)
    assert 0 < np.abs(velocity).max() < 3
    np.testing.assert_allclose(displacement, functional.integrate(velocity, 8), atol=2e-3)


def test_each_loss_has_its_images_or_field(make_model: Make, make_batch: Make) -> None:
    model = make_model("symnet")
    batch = make_batch(model)
    found = model(batch)
    terms = model.loss_terms(batch, found)
    values = model.loss_values(batch, found, None, False)
    assert set(terms) == set(SYMNet.DEFAULT_LOSSES)
    warped_back = functional.warp(batch["fixed"], values["inverse_displacement"])
    velocity, inverse = of(found, "velocity", "inverse_velocity")
    sizes = [np.abs(v).mean(axis=(1, 2, 3)) for v in (velocity, inverse)]
    for name, expected in (
        ("inverse_local_ncc", local_ncc(batch["moving"], warped_back, window=7)),
        ("middle_local_ncc", local_ncc(values["fixed_middle"], values["moving_middle"], window=7)),
        ("inverse_negative_jacobian", negative_jacobian(values["inverse_displacement"])),
        ("magnitude", np.abs(sizes[0] - sizes[1])),
    ):
        assert float(terms[name]) == pytest.approx(float(ops.mean(expected)), rel=1e-4), name


def test_it_learns_both_directions() -> None:
    keras.utils.set_random_seed(0)
    rows, columns = np.mgrid[:32, :32]
    balls = [np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 40)[None, ..., None] for r, c in ((14, 17), (17, 14))]
    batch = dict(zip(("fixed", "moving"), np.float32(balls), strict=True))
    model = SYMNet(rank=2, filters=4, velocity_limit=20.0, integration_steps=3)
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    logs = []
    for _ in range(40):
        logs.append(model.train_on_batch(batch, return_dict=True))
        model.reset_metrics()
    for name in ("local_ncc", "inverse_local_ncc", "middle_local_ncc"):
        assert logs[-1][name] < 0.7 * logs[0][name], name
    assert logs[-1]["folded_percent"] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"filters": 0}, "`filters` must be at least 1 and `velocity_limit` positive. Received: filters=0"),
        ({"velocity_limit": 0}, "Received: filters=8, velocity_limit=0"),
        ({"symmetric": True}, "SYMNet has one for each direction. Received: symmetric=True"),
    ],
)
def test_refusals(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SYMNet(**arguments)
