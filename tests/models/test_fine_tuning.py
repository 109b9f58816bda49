"""Parts of the networks, freezing them, and starting from another model's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from acreg.errors import AcregError, UsageError
from acreg.models import DDMR, RegNet
from acreg.models.fine_tuning import _weights

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("ddmr", {"encoder", "decoder", "head"}),
        ("acregnet", {"encoder", "decoder", "head"}),
        ("pyramid", {"encoder", "level"}),
    ],
)
def test_frozen_parts_stay_and_the_others_learn(kind: str, parts: set[str], make_model: Make, make_batch: Make) -> None:
    model = make_model(kind)
    assert set(model.parts()) == parts
    counted = sum(len(layer.weights) for layers in model.parts().values() for layer in layers)
    assert counted == len(model.network.weights), "every weight belongs to a part"
    part_of = {
        weight.path: part for part, layers in model.parts().items() for layer in layers for weight in layer.weights
    }
    model.freeze("encoder")
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.network.weights}
    model.train_on_batch(make_batch(model))
    moved = {part_of[w.path] for w in model.network.weights if (np.asarray(w) != before[w.path]).any()}
    assert moved == parts - {"encoder"}
    model.freeze()
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.train_on_batch(make_batch(model))
    moved = {part_of[w.path] for w in model.network.weights if (np.asarray(w) != before[w.path]).any()}
    assert moved == parts


def test_parts_that_do_not_exist_are_refused(make_model: Make) -> None:
    model = make_model("ddmr")
    with pytest.raises(ValueError, match=r"one of \['encoder', 'decoder', 'head'\]. Received: \['encode'\]"):
        model.freeze("encode")
    with pytest.raises(ValueError, match="must be left to train"):
        model.freeze("encoder", "decoder", "head")
    assert len(model.network.trainable_weights) == len(model.network.weights)


@pytest.mark.parametrize("form", ["preset", "model.keras", "model.weights.h5"])
@pytest.mark.parametrize("kind", ["acregnet", "pyramid"])
def test_weights_are_taken_from_each_kind_of_source(kind: str, form: str, make_model: Make, tmp_path: Path) -> None:
    given, model = make_model(kind), make_model(kind, shaken=False)
    path = tmp_path / form
    {"preset": given.save_preset, "model.keras": given.save, "model.weights.h5": given.save_weights}[form](path)
    model.transfer_from(path)
    for name, weight in _weights(model.network).items():
        np.testing.assert_array_equal(weight, _weights(given.network)[name], err_msg=name)


def test_another_class_with_the_same_network_will_do(make_model: Make, tmp_path: Path) -> None:
    given, model = make_model("unet"), make_model("acregnet", shaken=False)
    codes = model.autoencoder.get_weights()
    model.transfer_from(given.save_preset(tmp_path / "preset"))
    np.testing.assert_array_equal(model.network.get_layer("head").kernel, given.network.get_layer("head").kernel)
    for a, b in zip(codes, model.autoencoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


WIDTHS = {"encoder": (4, 8), "decoder": (8, 6), "head": (4, 3)}


@pytest.mark.parametrize("form", ["preset", "model.weights.h5"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 2}, r"\(encoder1/kernel \(3, 3, 2, 4\) instead of \(3, 3, 4, 4\)\)"),
        (
            {"head": (4, 5)},
            r"head2/kernel \(3, 3, 4, 3\) instead of \(3, 3, 4, 5\), head2/bias \(3,\) instead of \(5,\)",
        ),
        ({"encoder": (4, 9)}, r"4 of another shape \(encoder2/kernel \(3, 3, 4, 8\) instead of \(3, 3, 4, 9\)"),
    ],
    ids=["input", "head", "width"],
)
def test_what_does_not_match_is_named_with_both_shapes(
    change: dict[str, Any], said: str, form: str, make_model: Make, tmp_path: Path
) -> None:
    given, model = make_model("ddmr"), DDMR(**{"rank": 2, **WIDTHS, **change})
    path, before = tmp_path / form, model.get_weights()
    {"preset": given.save_preset, "model.weights.h5": given.save_weights}[form](path)
    with pytest.raises(AcregError, match=said):
        model.transfer_from(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_that_are_absent_or_left_over_are_named(make_model: Make, tmp_path: Path) -> None:
    preset = make_model("ddmr").save_preset(tmp_path / "preset")
    with pytest.raises(AcregError, match=r"2 absent \(head3/kernel, head3/bias\)"):
        DDMR(2, **{**WIDTHS, "head": (4, 3, 3)}, losses={}).transfer_from(preset)
    with pytest.raises(AcregError, match=r"\d+ absent \(encoder1_a/kernel.*left over \(encoder1/kernel"):
        RegNet(filters=(4, 8)).transfer_from(preset)


def test_what_is_no_source(make_model: Make, tmp_path: Path) -> None:
    model = make_model("ddmr")
    for name in ("absent.keras", "absent.weights.h5"):
        with pytest.raises(UsageError, match=f"must exist. Received: .*{name}"):
            model.transfer_from(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(AcregError, match=f"Received: .*{name}, which cannot be loaded"):
            model.transfer_from(tmp_path / name)
    with pytest.raises(UsageError, match="Make a preset of it first: see `acreg convert"):
        model.transfer_from(tmp_path / "vxm.h5")
    with pytest.raises(AcregError, match="a registration model or a segmenter. Received: .*, a LabelAutoencoder"):
        model.transfer_from(make_model("autoencoder").save_preset(tmp_path / "autoencoder"))
    with pytest.raises(UsageError, match="A preset is a folder"):
        model.transfer_from("nothing")
