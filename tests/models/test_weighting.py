"""Weights of losses that are trained beside the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from acreg.io import Preprocessing
from acreg.models import RegNet, from_preset

Make = Callable[..., Any]
LOSSES = {"ncc": 1.0, "local_ncc": 0.5, "bending": 0.0, "diffusion": 5e-3}
SMALL: dict[str, Any] = {"network": "unet", "filters": (4, 8), "dropout": 0.0, "losses": LOSSES}


def weights_of(model: Any) -> dict[str, float]:
    return {name: float(weight) for name, weight in model.loss_weighting.loss_weights().items()}


def test_fixed_is_the_default_and_has_no_weights_of_its_own() -> None:
    model = RegNet(**SMALL)
    assert model.get_config()["weighting"] == "fixed" and model.loss_weighting is None
    assert len(model.weights) == len(model.network.weights)
    old = {name: value for name, value in model.get_config().items() if name != "weighting"}  # of a preset before it
    assert RegNet.from_config(old).get_config() == model.get_config()


@pytest.mark.parametrize("weighting", ["uncertainty", "softmax"])
def test_fit_trains_the_weights_and_logs_them_by_name(weighting: str, make_batch: Make) -> None:
    keras.utils.set_random_seed(0)
    model = RegNet(**SMALL, weighting=weighting, num_classes=3)
    batch = make_batch(model, size=4)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    start = weights_of(model)
    history = model.fit(batch, validation_data=(batch, None), batch_size=4, epochs=6, verbose=0).history
    terms = ["ncc", "local_ncc", "diffusion"]
    names = {"loss", *terms, *(f"weight_{name}" for name in terms), "dice", "folded_percent"}
    assert set(history) == names | {f"val_{name}" for name in names}
    for name in terms:
        assert history[f"weight_{name}"][0] == pytest.approx(start[name]), "a step is logged with the weights before it"
        assert history[f"val_weight_{name}"][-1] == pytest.approx(weights_of(model)[name])
    last = {name: history[f"val_{name}"][-1] for name in (*terms, "loss")}
    total = sum(weight * last[name] for name, weight in weights_of(model).items())
    if weighting == "uncertainty":
        # Losses below one have their weights raised; s is the logarithm of the weight, with the sign changed.
        assert all(weights_of(model)[name] > start[name] * 1.03 for name in terms)
        total -= sum(np.log(weights_of(model)[name]) for name in terms)
    else:
        assert weights_of(model)["ncc"] + weights_of(model)["local_ncc"] == pytest.approx(1)
        assert weights_of(model)["diffusion"] < start["diffusion"]
    assert last["loss"] == pytest.approx(total, rel=1e-5)


def test_half_precision_trains_the_weights_in_float32(make_batch: Make, restored_policy: None) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    model = RegNet(**SMALL, weighting="uncertainty")
    keras.config.set_dtype_policy("float32")
    model.compile(optimizer=keras.optimizers.Adam(1e-4), run_eagerly=True)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    (variable,) = model.loss_weighting.variables
    before = keras.ops.convert_to_numpy(variable).copy()
    batch = make_batch(model, labels=False)
    for _ in range(4):
        model.train_on_batch(batch)
    moved = before - keras.ops.convert_to_numpy(variable)
    assert variable.dtype == "float32" and np.all((moved > 0) & (moved < 1e-3))


@pytest.fixture
def learned(tmp_path: Path) -> tuple[Any, Path]:
    """A model whose weights are no longer the priors, and its preset."""
    model = RegNet(**SMALL, weighting="uncertainty", preprocessing=Preprocessing(shape=(16, 16)))
    model.loss_weighting.set_weights([np.array([-0.4, 0.3, 5.0])])
    return model, model.save_preset(tmp_path / "preset")


def rewrite(folder: Path, weighting: str) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["config"]["weighting"] = weighting
    path.write_text(json.dumps(content))


def test_a_preset_keeps_the_weights_and_loads_without_them(learned: tuple[Any, Path], make_batch: Make) -> None:
    model, folder = learned
    again = from_preset(folder)
    assert weights_of(again) == weights_of(model)
    assert weights_of(again)["ncc"] == pytest.approx(np.exp(0.4))
    rewrite(folder, "fixed")
    plain = from_preset(folder)
    assert plain.loss_weighting is None
    batch = make_batch(model, labels=False)
    np.testing.assert_array_equal(plain(batch)["displacement"], model(batch)["displacement"])


@pytest.mark.parametrize("weighting", ["uncertainty", "softmax"])
def test_a_preset_that_was_trained_with_fixed_weights_starts_from_the_priors(
    weighting: str, learned: tuple[Any, Path], make_batch: Make
) -> None:
    model, folder = learned
    rewrite(folder, "fixed")
    plain = from_preset(folder)
    plain.save_preset(folder)
    rewrite(folder, weighting)
    again = from_preset(folder)
    assert weights_of(again) == pytest.approx(weights_of(RegNet(**SMALL, weighting=weighting)))
    batch = make_batch(model, labels=False)
    np.testing.assert_array_equal(again(batch)["displacement"], model(batch)["displacement"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weighting": "kendall"}, r"`weighting` must be one of \('fixed', .*Received: weighting='kendall'"),
        ({"weighting": "softmax", "losses": {"diffusion": 1}}, r"needs one. Received: losses=\{'diffusion': 1.0\}"),
        ({"weighting": "uncertainty", "losses": {"ncc": 0}}, r"needs one. Received: losses=\{'ncc': 0.0\}"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RegNet(**SMALL | options)
