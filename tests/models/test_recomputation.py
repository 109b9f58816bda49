"""Recomputed parts: the same training step, with less kept in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("unet", ["encoder", "decoder"]),  # batch normalisation inside, dropout between
        ("pyramid-velocity", ["encoder"]),  # a model that is called once for each image
        ("ddmr-3d", ["encoder", "head"]),
        ("jrsnet", ["block"]),  # a network that runs several times in a step
    ],
)
def test_a_step_gives_the_same_weights(kind: str, parts: list[str], make_model: Make, make_batch: Make) -> None:
    found = []
    for recompute in ((), parts):
        model = make_model(kind, recompute=recompute)
        for number, variable in enumerate(v for v in model.variables if "seed" in v.path):
            variable.assign(np.array([number, 0], "uint32"))
        model.compile(optimizer=keras.optimizers.SGD(1e-2))
        for seed in range(2):
            logs = model.train_on_batch(make_batch(model, seed=seed), return_dict=True)
        found.append((logs, {v.path: keras.ops.convert_to_numpy(v) for v in model.weights}))
    (logs, weights), (other_logs, other_weights) = found
    assert other_logs == pytest.approx(logs, rel=1e-5, abs=1e-6)
    for (path, value), other in zip(weights.items(), other_weights.values(), strict=True):
        np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-6, err_msg=path)


def test_what_is_kept_is_what_goes_between_levels(make_model: Make) -> None:
    model = make_model("unet", recompute=["encoder"])
    _, segments = model._recomputation._known[id(model.network)]
    levels = [sorted(layer.name for layer in s.model.layers if layer.weights) for s in segments if s.again]
    assert levels == [[f"encoder{n}_{part}{kind}" for part in "ab" for kind in ("", "_bn")] for n in (1, 2)]
    assert len(segments[1].made) == 2  # the skip, and what the next level takes


def test_it_is_part_of_the_config_and_a_wrong_part_is_named(make_model: Make) -> None:
    model = make_model("unet", recompute=["encoder"])
    assert "recompute" not in make_model("unet").get_config()
    assert type(model).from_config(model.get_config())._recomputation.parts == ("encoder",)
    with pytest.raises(ValueError, match=r"part to recompute must be one of \['encoder', 'decoder', 'head'\].*'foot'"):
        make_model("unet", recompute=["foot"])
