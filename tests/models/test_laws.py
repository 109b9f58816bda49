"""What holds for every model: each kind in `MAKERS`, which is all that a new model adds here.

A law that concerns some kinds asks the model whether it does, and returns if it does not.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import acreg.models
from acreg.geometry import warp_array
from acreg.layers import functional
from acreg.models import DDMR, AffineDeformableNet, LabelAutoencoder, RegistrationModel, RegNet, from_preset
from acreg.models.registered import registered_models
from tests.models.conftest import MAKERS, REGISTER, first_of_each

REGISTER_2D = [kind for kind in REGISTER if "3d" not in kind]
IN_BFLOAT16 = {
    "unet-velocity",
    "pyramid-3d-velocity",
    "acregnet-3d",
    "ddmr-downsized",
    "affine-deformable",
    "svfnet-3d",
    "symnet-3d",
    "faim-3d",
    "dirnet",
    "jrsnet-3d-direct",
    "autoencoder-3d",
}
"""The others are tested in float16."""
BY_GLOBAL_POLICY = {"acregnet", "acregnet-softmax", "autoencoder-3d"}
"""The others are given the argument `dtype`."""
COMPUTED_ALIKE = {
    "unet",
    "unet-head-batch-norm",
    "unet-two-channels",
    "unet-uncertainty",
    "pyramid",
    "ddmr",
    "ddmr-velocity",
    "affine-only-batch-norm",
    "deformable-only",
    "pyramid-symmetric",
    "ddmr-3d-symmetric",
}
"""Kinds with the layers of another kind, whose half precision is not tested again, because compiling is slow."""
RATIOS = {
    "unet-velocity": 1,
    "ddmr-velocity": 1,
    "ddmr-downsized": 2,
    "pyramid-velocity": 2,
    "pyramid-3d-velocity": 2,
    "pyramid-symmetric": 2,
}
"""Of the images' size to that of the velocity; of others, it is the same along each axis."""
Make = Callable[..., Any]


def outputs(model: Any, batch: Any) -> dict[str, np.ndarray]:
    found = model(batch)
    found = found if isinstance(found, dict) else {"logits": found}
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def fields(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: found[name] for name in ("displacement", "velocity") if name in found}


def test_every_model_of_acreg_is_tested_and_has_a_page(repository: Path) -> None:
    for module in pkgutil.iter_modules(acreg.models.__path__):
        importlib.import_module(f"acreg.models.{module.name}")
    models = {name: model for name, model in registered_models(RegistrationModel).items() if ">" not in name}
    assert set(models.values()) <= {model for model, _ in MAKERS.values()}
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (repository / "docs" / "models").glob("*.md"))
    assert [name for name in models if not re.search(rf"\b{name}\b", pages)] == []


@pytest.mark.parametrize("kind", MAKERS)
def test_config_preset_and_keras_file_give_the_same_model(
    kind: str, make_model: Make, make_batch: Make, tmp_path: Path
) -> None:
    model = make_model(kind)
    batch = make_batch(model, labels=False)
    expected = outputs(model, batch)
    for name, value in expected.items():
        assert np.isfinite(value).all(), name
        assert value.std() > 0 or (name == "deformation" and not model.deformable), name

    rebuilt = type(model).from_config(model.get_config())
    assert rebuilt.get_config() == model.get_config()
    rebuilt.set_weights(model.get_weights())
    model.save(tmp_path / "model.keras")
    for other in (
        rebuilt,
        keras.models.load_model(tmp_path / "model.keras"),
        from_preset(model.save_preset(tmp_path / "preset")),
    ):
        assert type(other) is type(model)
        assert other.preprocessing == model.preprocessing
        for name, value in outputs(other, batch).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert sorted(p.name for p in (tmp_path / "preset").iterdir()) == [
        "config.json",
        "model.weights.h5",
        "model_card.md",
        "preprocessing.json",
    ]


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind not in COMPUTED_ALIKE])
def test_mixed_precision_computes_in_half_and_gives_float32(
    kind: str, make_model: Make, make_batch: Make, restored_policy: None
) -> None:
    exact, policy = make_model(kind), "mixed_bfloat16" if kind in IN_BFLOAT16 else "mixed_float16"
    if kind in BY_GLOBAL_POLICY:
        keras.config.set_dtype_policy(policy)
    model = make_model(kind, **({} if kind in BY_GLOBAL_POLICY else {"dtype": policy}))
    model.set_weights(exact.get_weights())
    keras.config.set_dtype_policy("float32")
    network = model.encoder if isinstance(model, LabelAutoencoder) else model.network
    convolution = next(layer for layer in network._flatten_layers() if "Conv" in type(layer).__name__)
    assert convolution.compute_dtype == policy.removeprefix("mixed_")
    assert convolution.kernel.dtype == "float32"
    batch = make_batch(model, labels=False)
    found, expected = outputs(model, batch), outputs(exact, batch)
    for name, value in found.items():
        assert value.dtype == np.float32, name
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(value, expected[name], atol=0.1 * scale, err_msg=name)
    assert any((found[name] != expected[name]).any() for name in found), "half precision was not used"
    batch = make_batch(model)
    loss = model.compute_loss(x=batch, y_pred=model(batch, training=True))
    assert loss.dtype == "float32"
    if "3d" in kind and policy == "mixed_bfloat16":
        return  # on a CPU TensorFlow's gradient of a 3-D kernel in bfloat16 is NaN at times, see docs/how-to/devices.md
    model.compile(optimizer="sgd", run_eagerly=True)  # a few steps, which take less time than tracing one
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16"), "what float16 cannot hold needs a scaled loss, bfloat16 does not"
    for _ in range(16):  # a step whose gradient float16 cannot hold is left out, and the scale halved
        logs = model.train_on_batch(batch, return_dict=True)
        assert all(np.isfinite(value) for value in logs.values())
        if int(model.optimizer.iterations) or not scaled:
            break
    assert not scaled or float(model.optimizer.dynamic_scale) >= 1.0
    after, before = model.get_weights(), exact.get_weights()
    assert all(np.isfinite(value).all() for value in after)
    trained = [a.path.rsplit("/", 1)[-1] not in ("moving_mean", "moving_variance") for a in model.weights]
    assert any((a != b).any() for a, b, t in zip(after, before, trained, strict=True) if t), "no step was made"


@pytest.mark.parametrize("kind", MAKERS)
def test_batch_size_is_dynamic(kind: str, make_model: Make, make_batch: Make) -> None:
    model = make_model(kind)
    batch = make_batch(model, size=3, labels=False)
    if isinstance(model, LabelAutoencoder):
        assert model(keras.Input(batch.shape[1:], dtype="int32")).shape == (None, *model.shape, model.num_classes)
        single = batch[1:2]
    else:
        spec = {name: keras.Input(value.shape[1:]) for name, value in batch.items()}
        symbolic = model(spec)
        assert symbolic["warped"].shape == (None, *batch["fixed"].shape[1:])
        assert symbolic["displacement"].shape == (None, *batch["fixed"].shape[1:-1], model.rank)
        single = {name: value[1:2] for name, value in batch.items()}
    expected = outputs(model, batch)
    for name, value in outputs(model, single).items():
        np.testing.assert_allclose(value[0], expected[name][1], atol=2e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["pyramid-velocity", "acregnet", "acregnet-softmax"])
def test_compiled_by_xla_or_not_is_the_same(kind: str, make_model: Make, make_batch: Make) -> None:
    plain = make_model(kind, **({"dropout": 0.0} if kind.startswith("acregnet") else {}))
    compiled = type(plain).from_config(plain.get_config())
    compiled.set_weights(plain.get_weights())
    batch = make_batch(plain)
    logs, weights = [], []
    for model, jit in ((plain, False), (compiled, True)):
        model.compile(optimizer=keras.optimizers.SGD(1e-3), jit_compile=jit)
        assert model.jit_compile is jit, "Keras falls back to no XLA where it deems it unsupported"
        logs.append(model.train_on_batch(batch, return_dict=True))
        weights.append(model.get_weights())
    assert logs[1] == pytest.approx(logs[0], rel=1e-3, abs=1e-4)
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", REGISTER)
def test_sizes_that_cannot_be_halved_are_padded_by_edge_values(kind: str, make_model: Make, make_batch: Make) -> None:
    model = make_model(kind)
    shape = (15, 13, 10)[: model.rank]
    batch = make_batch(model, shape=shape, labels=False)
    found = outputs(model, batch)
    assert found["warped"].shape == (2, *shape, model.channels)
    assert found["displacement"].shape == (2, *shape, model.rank)
    if "affine" in found:
        return  # its map depends on the size: see test_affine_deformable_net.py

    wanted = [-(-n // model.multiple) * model.multiple for n in shape]
    before = [(w - n) // 2 for n, w in zip(shape, wanted)]
    margins = [(0, 0), *((b, w - n - b) for b, n, w in zip(before, shape, wanted)), (0, 0)]
    padded = outputs(model, {name: np.pad(value, margins, mode="edge") for name, value in batch.items()})
    inside = (slice(None), *(slice(b, b + n) for b, n in zip(before, shape)))
    np.testing.assert_allclose(found["displacement"], padded["displacement"][inside], atol=1e-5)


def test_a_size_that_can_be_halved_is_not_touched(make_model: Make, make_batch: Make) -> None:
    model = make_model("unet")
    batch = make_batch(model, shape=(12, 20), labels=False)
    np.testing.assert_array_equal(outputs(model, batch)["displacement"], outputs(model.network, batch)["field"])


@pytest.mark.parametrize(
    "kind", [*first_of_each(REGISTER_2D), "unet-velocity", "pyramid", "acregnet", "ddmr-downsized"]
)
def test_predict_takes_one_size_after_another(kind: str, make_model: Make, make_batch: Make) -> None:
    """After two sizes TensorFlow traces a function for any size: shapes are then unknown inside."""
    model = make_model(kind)
    for shape in ((16, 16), (13, 18), (11, 21), (16, 20)):
        batch = make_batch(model, shape=shape, labels=False)
        found, expected = model.predict_on_batch(batch), outputs(model, batch)
        assert found["displacement"].shape == (2, *shape, 2)
        np.testing.assert_allclose(found["displacement"], expected["displacement"], atol=1e-5)
        np.testing.assert_allclose(found["warped"], expected["warped"], atol=1e-5)


@pytest.mark.parametrize("kind", REGISTER)
def test_the_displacement_follows_from_what_is_predicted(kind: str, make_model: Make, make_batch: Make) -> None:
    """The velocity is integrated, the affine map is applied, and the moving image is sampled at the displacement."""
    model = make_model(kind)
    batch = make_batch(model, labels=False)
    found = outputs(model, batch)
    shape = found["displacement"].shape[1:-1]
    deformation = found.get("deformation", found["displacement"])
    if model.integration_steps:
        assert found["velocity"].dtype == np.float32
        ratio = RATIOS.get(kind, shape[0] // found["velocity"].shape[1])
        assert found["velocity"].shape == (2, *(n // ratio for n in shape), model.rank)
        expected = functional.integrate(found["velocity"], model.integration_steps)
        np.testing.assert_allclose(deformation, functional.resize_displacement(expected, shape), atol=1e-5)
    if "affine" in found:
        start = np.stack(np.indices(shape), -1) + deformation
        moved = np.einsum("bij,b...j->b...i", found["affine"][..., :-1], start)
        moved += found["affine"][..., -1].reshape(2, *(1,) * model.rank, model.rank)
        np.testing.assert_allclose(found["displacement"], moved - np.stack(np.indices(shape), -1), atol=1e-4)
    for channel in range(model.channels):
        warped = warp_array(batch["moving"][1, ..., channel], found["displacement"][1])
        np.testing.assert_allclose(found["warped"][1, ..., channel], warped, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in REGISTER if MAKERS[kind][1].get("symmetric")])
def test_a_symmetric_velocity_changes_its_sign_with_the_pair_and_is_0_for_equal_images(
    kind: str, make_model: Make, make_batch: Make
) -> None:
    model = make_model(kind)
    batch = {role: make_batch(model)[role] for role in ("fixed", "moving")}
    found = outputs(model, batch)["velocity"]
    swapped = outputs(model, {"fixed": batch["moving"], "moving": batch["fixed"]})["velocity"]
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(swapped, -found, atol=1e-5)
    same = outputs(model, {"fixed": batch["fixed"], "moving": batch["fixed"]})
    np.testing.assert_array_equal(same["displacement"], 0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RegNet(symmetric=True), "a displacement has no such inverse.* Set `integration_steps`"),
        (
            lambda: AffineDeformableNet(symmetric=True, integration_steps=4),
            "without an affine part.* Received: symmetric=True, affine='affine'",
        ),
    ],
)
def test_a_symmetric_network_has_a_velocity_alone(make: Make, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_the_same_seed_gives_the_same_weights_twice(make_model: Make, make_batch: Make) -> None:
    def train() -> list[np.ndarray]:
        keras.utils.set_random_seed(5)
        model = make_model("acregnet", shaken=False)
        model.compile(optimizer=keras.optimizers.Adam(1e-2))
        for step in range(3):
            model.train_on_batch(make_batch(model, seed=step))
        return model.get_weights()

    first, second = train(), train()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameter_counts_are_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(model: Any) -> int:
        return sum(int(np.prod(weight.shape)) for weight in model.weights)

    assert count(RegNet(head_batch_norm=True)) == 489_992
    assert count(RegNet()) == 489_992 - 4 * 2 + 2
    assert count(LabelAutoencoder((64, 64), num_classes=4)) == 41_320
    monkeypatch.setattr(keras.initializers, "HeNormal", keras.initializers.Zeros)  # 85 million are slow to draw
    assert count(DDMR()) == 84_921_011
