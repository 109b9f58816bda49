"""What users of Keras add to `compile` and `fit` counts beside a model's own losses."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from acreg.models import LabelAutoencoder, RegNet, Segmenter


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.random((4, 16, 16, 1)).astype(np.float32) for name in ("moving", "fixed")}


def made() -> RegNet:
    model = RegNet()
    model.compile()
    return model


def loss_of(model: keras.Model, x: dict[str, np.ndarray]) -> float:
    return float(model.evaluate(x, batch_size=4, verbose=0, return_dict=True)["loss"])


def test_a_loss_and_a_metric_on_one_output_count(images: dict[str, np.ndarray]) -> None:
    model = made()
    own, warped = loss_of(model, images), keras.ops.convert_to_numpy(model(images)["warped"])
    model.compile(loss={"warped": "mse"}, loss_weights={"warped": 10.0}, metrics={"warped": ["mae"]})
    found = model.evaluate(images, {"warped": images["fixed"]}, batch_size=4, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(own + 10 * np.mean((warped - images["fixed"]) ** 2), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(warped - images["fixed"]).mean(), rel=1e-5)
    history = model.fit(images, {"warped": images["fixed"]}, batch_size=4, verbose=0).history
    assert np.isfinite(history["loss"]).all() and "mae" in history
    with pytest.raises(ValueError, match=r"A target must be one for an output, of .*'warped'.*targets for \['moved'\]"):
        model.evaluate(images, {"moved": images["fixed"]}, batch_size=4, verbose=0)


def test_a_regulariser_counts(images: dict[str, np.ndarray]) -> None:
    model = made()
    own = loss_of(model, images)
    kernel = model.network.trainable_variables[0]
    kernel.regularizer = keras.regularizers.L2(1e3)
    wanted = 1e3 * float(np.sum(np.square(keras.ops.convert_to_numpy(kernel))))
    assert wanted > 1
    model.compile()
    assert loss_of(model, images) == pytest.approx(own + wanted, rel=1e-4)


def test_weights_of_samples_weigh_the_losses(images: dict[str, np.ndarray]) -> None:
    model = made()
    each = [loss_of(model, {name: x[i : i + 1] for name, x in images.items()}) for i in range(4)]
    weights = np.array([2.0, 0.0, 1.0, 0.5], np.float32)
    batch = (images, {"warped": images["fixed"]}, weights)
    found = model.evaluate(_Batches(batch), verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(np.mean(np.array(each) * weights), rel=1e-5)


def test_the_other_models_count_what_is_added_too() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (2, 16, 16, 1)).astype(np.int32)
    image = {"image": rng.random((2, 16, 16, 1)).astype(np.float32), "labels": labels}
    for model, x in ((Segmenter(filters=(4, 8)), image), (LabelAutoencoder((16, 16), 2, code_size=2), labels)):
        model.compile()
        own = model.evaluate(x, verbose=0, return_dict=True)["loss"]
        kernel = model.trainable_variables[0]
        kernel.regularizer = keras.regularizers.L2(10.0)
        wanted = 10 * float(np.sum(np.square(keras.ops.convert_to_numpy(kernel))))
        model.compile()
        assert model.evaluate(x, verbose=0, return_dict=True)["loss"] == pytest.approx(own + wanted, rel=1e-4)


class _Batches(keras.utils.PyDataset):
    def __init__(self, batch: tuple[Any, ...]) -> None:
        super().__init__()
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.batch
