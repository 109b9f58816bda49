"""Training on pairs that the model makes of single images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from acreg.io import Preprocessing
from acreg.layers import ThinPlateSplineAugmentation
from acreg.models import DDMR, from_preset

CLASSES = 3
LIMITS: dict[str, Any] = {"max_translation": 2.0, "max_deformation": 1.0, "control_points": 4, "seed": 3}
SMALL: dict[str, Any] = {"rank": 2, "encoder": (4, 8), "decoder": (8, 4), "head": (4,), "num_classes": CLASSES}
LOSSES = {"ncc": 1.0, "mean_squared_error": 1.0, "soft_dice": 1.0, "diffusion": 0.1}


def images(count: int = 2) -> dict[str, NDArray]:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, CLASSES, (count, 4, 6, 1)).repeat(4, 1).repeat(4, 2).astype(np.int32)
    return {
        "image": (labels + rng.uniform(0, 0.3, labels.shape)).astype(np.float32),
        "labels": labels,
        "spacing": np.full((count, 2), 1.5, np.float32),
    }


def test_a_step_on_images_is_the_step_on_the_pairs_that_the_layer_makes_of_them() -> None:
    keras.utils.set_random_seed(0)
    model = DDMR(**SMALL, losses=LOSSES, augmentation=LIMITS)
    pairs = ThinPlateSplineAugmentation(**LIMITS)(images())
    other = DDMR(**SMALL, losses=LOSSES)
    other.set_weights(model.get_weights())
    for m, x in ((model, images()), (other, pairs)):
        m.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
        m.train_on_batch(x)
    before = DDMR(**SMALL, losses=LOSSES).get_weights()
    assert not all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_made_and_given_pairs_share_a_batch() -> None:
    model = DDMR(**SMALL, losses=LOSSES, augmentation=LIMITS)
    given = ThinPlateSplineAugmentation(**{**LIMITS, "seed": 9})(images(1))
    outputs = model({**images(), **given})
    assert {name: tuple(x.shape) for name, x in outputs["pairs"].items()} == {
        name: (3, 16, 24, 1) for name in ("moving", "fixed", "moving_labels", "fixed_labels")
    }
    assert outputs["displacement"].shape == (3, 16, 24, 2)
    np.testing.assert_array_equal(outputs["pairs"]["fixed_labels"][2:], given["fixed_labels"])
    np.testing.assert_array_equal(outputs["pairs"]["moving_labels"][:2], images()["labels"])
    again = model(given)
    assert "pairs" not in again
    np.testing.assert_allclose(again["displacement"], outputs["displacement"][2:], atol=1e-6)


def test_every_step_draws_anew_and_evaluation_on_pairs_draws_nothing() -> None:
    model = DDMR(**SMALL, losses=LOSSES, augmentation=LIMITS)
    first, second = (model(images())["pairs"]["fixed"] for _ in range(2))
    assert float(ops.max(ops.abs(first - second))) > 0.1
    model.compile()
    pairs = ThinPlateSplineAugmentation(**LIMITS)(images())
    state = ops.convert_to_numpy(model.augmentation.seed_generator.state)
    losses = [model.evaluate(pairs, return_dict=True, verbose=0)["loss"] for _ in range(2)]
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(model.augmentation.seed_generator.state, state)


def test_half_precision_makes_the_same_pairs_in_float32() -> None:
    one, half = (DDMR(**SMALL, losses=LOSSES, augmentation=LIMITS, dtype=d) for d in ("float32", "mixed_bfloat16"))
    first, second = one(images()), half(images())
    for name in first["pairs"]:
        assert first["pairs"][name].dtype == second["pairs"][name].dtype
        np.testing.assert_array_equal(first["pairs"][name], second["pairs"][name])


def test_a_preset_knows_nothing_of_the_augmentation_and_a_model_file_all(tmp_path: Path) -> None:
    model = DDMR(**SMALL, augmentation=LIMITS, preprocessing=Preprocessing(shape=(16, 24), label_values=[0, 1, 2]))
    model.save_preset(tmp_path / "preset")
    config = json.loads((tmp_path / "preset" / "config.json").read_text(encoding="utf-8"))["config"]
    assert "augmentation" not in config and config["encoder"] == [4, 8]
    loaded = from_preset(tmp_path / "preset")
    assert loaded.augmentation is None
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.augmentation.get_config() == model.augmentation.get_config()
    for a, b, c in zip(model.get_weights(), loaded.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="made by the `augmentation` of a model. Received: 'image' among the inputs"):
        DDMR(**SMALL)(images())
    model = DDMR(**SMALL, augmentation=LIMITS)
    pair = {"moving": images()["image"], "fixed": images()["image"]}
    with pytest.raises(ValueError, match=r"same parts as theirs, labels or none. Received: \['fixed', 'moving'\] bes"):
        model({**images(), **pair})
    with pytest.raises(ValueError, match="must have finite voxels only"):
        model({"image": np.full((1, 16, 24, 1), np.nan, np.float32)})
    with pytest.raises(ValueError, match=r"as many voxels .* Received: sizes \(3, 24\) for control_points=4"):
        model({"image": np.zeros((1, 3, 24, 1), np.float32)})
    with pytest.raises(ValueError, match="`spacing` must be positive millimetres"):
        model({**images(1), "spacing": np.zeros((1, 2), np.float32)})
