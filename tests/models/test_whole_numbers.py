"""Images and labels in the small integers in which they are stored train a model as their floats do."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from acreg.data import KerasPairs, PairSampler
from acreg.data.stored_array import StoredArray
from acreg.models import RegNet

CLASSES = 3
CHANGES = {"gamma": 0.3, "noise": 0.1, "rotation": 0.2, "seed": 4}


def sampler(small: bool) -> PairSampler:
    rng = np.random.default_rng(0)
    images = StoredArray(rng.integers(0, 65536, (5, 16, 16, 1), np.uint16), images=True)
    labels = StoredArray(rng.integers(0, CLASSES, (5, 16, 16, 1), np.uint8), images=False)
    return PairSampler(*((images.as_stored(), labels.as_stored()) if small else (images, labels)), 2, seed=1)


def made(num_classes: int, **arguments: Any) -> RegNet:
    keras.utils.set_random_seed(3)
    losses = {"mean_squared_error": 1, "soft_dice": 1}
    return RegNet(network="pyramid", filters=[8, 8], num_classes=num_classes, losses=losses, **arguments)


def trained(small: bool) -> tuple[list[float], list[np.ndarray]]:
    model = made(CLASSES, image_augmentation=CHANGES)
    model.compile("adam", run_eagerly=True)
    history = model.fit(KerasPairs(sampler(small)), steps_per_epoch=2, shuffle=False, verbose=0).history
    return history["loss"] + history["dice"], model.get_weights()


def test_training_is_the_same_to_the_last_bit() -> None:
    losses, weights = trained(small=False)
    others, small = trained(small=True)
    assert losses == others and np.isfinite(losses).all()
    for one, other in zip(weights, small, strict=True):
        np.testing.assert_array_equal(one, other)


def test_256_labels_of_8_bits_are_all_known() -> None:
    batch = {
        "moving": np.zeros((1, 16, 16, 1), np.uint16),
        "fixed": np.full((1, 16, 16, 1), 65535, np.uint16),
        "moving_labels": np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1),
        "fixed_labels": np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1),
    }
    model = made(256)
    model.compile(run_eagerly=True)
    assert np.isfinite(model.evaluate(batch, verbose=0, return_dict=True)["loss"])


def test_a_model_returns_the_decoded_pair() -> None:
    batch = sampler(small=True).batch(0)
    floats = sampler(small=False).batch(0)
    model = made(CLASSES)
    pairs = model(batch)["pairs"]
    for name, x in floats.items():
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(pairs[name]), x)
    assert "pairs" not in model(floats)
