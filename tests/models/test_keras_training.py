"""What users of Keras add to `compile` and `fit` counts beside a model's own losses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from acreg._keras import CLASSES
from acreg.layers import AffineToDisplacement, ComposeDisplacements, SpatialTransformer
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


def test_two_images_may_be_a_list(images: dict[str, np.ndarray]) -> None:
    model = made()
    named, listed = model(images), model((images["moving"], images["fixed"]))
    for name, value in named.items():
        np.testing.assert_array_equal(value, listed[name])
    history = model.fit([images["moving"], images["fixed"]], verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for wrong in ([images["moving"]], images["moving"]):
        with pytest.raises(ValueError, match="a dictionary with 'moving' and 'fixed', or a list of these two"):
            model(wrong)


def test_layers_of_two_inputs_take_a_list() -> None:
    image, field = np.random.default_rng(0).random((2, 6, 6, 1)), np.random.default_rng(1).normal(size=(2, 6, 6, 2))
    pairs = {
        SpatialTransformer(): (image, field),
        ComposeDisplacements(): (field, -field),
        AffineToDisplacement(): (0.1 * np.ones((2, 6)), image),
    }
    for layer, (first, second) in pairs.items():
        inputs = [keras.Input(x.shape[1:]) for x in (first, second)]
        model = keras.Model(inputs, layer(inputs))
        expected = keras.ops.convert_to_numpy(layer(first, second))
        np.testing.assert_allclose(model.predict([first, second], verbose=0), expected, atol=1e-6)
        assert layer.compute_output_shape([first.shape, second.shape]) == expected.shape
        with pytest.raises(ValueError, match="takes `.*` and `.*`, as two arguments or as a list of two. Received: "):
            layer(first)


def test_images_and_labels_train_a_segmenter_as_other_networks() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.random((4, 8, 8, 1)).astype(np.float32), rng.integers(0, 2, (4, 8, 8, 1))
    found = []
    for x, y in ((images, labels), ({"image": images, "labels": labels}, None)):
        keras.utils.set_random_seed(0)
        model = Segmenter(filters=(4, 8), dropout=0.0)
        model.compile()
        found.append(model.evaluate(x, y, verbose=0, return_dict=True)["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.parametrize("make", [RegNet, lambda: Segmenter(filters=(4, 8)), lambda: LabelAutoencoder((16, 16), 3)])
def test_a_model_that_was_never_called_is_exported(make: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    model = make()
    model.export(tmp_path / "out", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "out")
    inputs = model._inputs()
    x = keras.tree.map_structure(lambda i: np.ones((2, 16, 16, i.shape[-1]), np.float32), inputs)
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, keras.ops.convert_to_numpy(b), atol=1e-5), loaded.serve(x), model(x)
    )


def test_keras_finds_every_class_of_acreg() -> None:
    registered = {
        name.removeprefix("acreg>") for name in keras.saving.get_custom_objects() if name.startswith("acreg>")
    }
    assert registered == set(CLASSES)
    for name, module in CLASSES.items():
        assert keras.saving.get_registered_object(f"acreg>{name}").__module__ == f"acreg.{module}"


@pytest.mark.parametrize("imports", ["acreg, keras", "keras, acreg"])
def test_a_saved_model_is_loaded_after_the_import_of_acreg_alone(imports: str, tmp_path: Path) -> None:
    made().save(tmp_path / "m.keras")
    program = (
        f"import {imports}, sys; assert 'acreg.models' not in sys.modules; "
        "print(type(keras.models.load_model(sys.argv[1])).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.keras")], capture_output=True, text=True, check=False
    )
    assert done.stdout == "RegNet\n", done.stderr


def test_images_are_augmented_in_training_alone_and_the_losses_see_what_the_network_saw(
    images: dict[str, np.ndarray],
) -> None:
    model = RegNet(image_augmentation={"gamma": 0.5, "rotation": 0.3, "seed": 1}, num_classes=3)
    labels = {f"{role}_labels": np.random.default_rng(1).integers(0, 3, (4, 16, 16, 1)) for role in ("moving", "fixed")}
    batch = {**images, **labels}
    found = model(batch, training=True)
    pairs = {name: keras.ops.convert_to_numpy(value) for name, value in found["pairs"].items()}
    assert all((pairs[name] != batch[name]).any() for name in batch)
    bare = RegNet(num_classes=3)
    bare.set_weights([w for w in model.get_weights() if w.dtype.kind == "f"])
    loss, expected = (m.compute_loss(x=x, y_pred=found) for m, x in ((model, batch), (bare, pairs)))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert "pairs" not in model(batch)
    again = RegNet.from_config(model.get_config())
    assert again.image_augmentation.get_config() == model.image_augmentation.get_config()
