"""Training on some of many labels at a time."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from acreg.models import DDMR, ACRegNet
from acreg.models.label_values import some_labels

SMALL: dict[str, Any] = {"rank": 2, "encoder": (4,), "decoder": (4,), "head": (4,)}


def batch(classes: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = {
        name: rng.integers(0, classes, (2, 16, 16, 1)).astype(np.int32) for name in ("moving_labels", "fixed_labels")
    }
    return {name.removesuffix("_labels"): x.astype(np.float32) / classes for name, x in labels.items()} | labels


def test_a_step_draws_labels_and_numbers_them_in_both_images_alike() -> None:
    draws = keras.random.SeedGenerator(0)
    x, seen = batch(10), set()
    for _ in range(30):
        some = some_labels(x, 10, 3, draws)
        mapped = [np.unique(np.stack([x[n].ravel(), np.asarray(some[n]).ravel()]), axis=1).T.tolist() for n in some if
                  n.endswith("labels")]  # fmt: skip
        assert mapped[0] == mapped[1]
        table = dict(mapped[0])
        chosen = {old for old, new in table.items() if new}
        assert table[0] == 0 and len(chosen) == 3 and {table[old] for old in chosen} == {1, 2, 3}
        seen |= chosen
    assert seen == set(range(1, 10))


def test_validation_compares_all_labels_and_training_some() -> None:
    x = batch(10)
    losses = {"soft_dice": 1.0}
    some, every = (DDMR(**SMALL, num_classes=10, losses=losses, labels_per_step=n) for n in (2, None))
    some.set_weights(every.get_weights())
    for model in (some, every):
        model.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    assert some.test_on_batch(x, return_dict=True)["dice"] == pytest.approx(
        every.test_on_batch(x, return_dict=True)["dice"], abs=1e-6
    )
    drawn = []
    for _ in range(4):
        some.reset_metrics()
        drawn.append(float(some.train_on_batch(x, return_dict=True)["soft_dice"]))
    assert np.ptp(drawn) > 1e-4
    assert DDMR.from_config(some.get_config()).labels_per_step == 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than `num_classes`. Received: labels_per_step=3, num_classes=3"):
        DDMR(**SMALL, num_classes=3, labels_per_step=3)
    with pytest.raises(ValueError, match="at least 1 and fewer than `num_classes`"):
        DDMR(**SMALL, labels_per_step=3)
    with pytest.raises(ValueError, match=r"treat each label alike. Received: 2 in a model with \['anatomical_prior'\]"):
        from acreg.models import LabelAutoencoder

        ACRegNet(4, LabelAutoencoder((16, 16), num_classes=4, code_size=4), labels_per_step=2)
