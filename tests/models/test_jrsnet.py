"""JRS-Net as a model: its losses, its adversaries, what it keeps and what it makes of two images."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import acreg
from acreg.applications.conversion.exporting import export
from acreg.data.sampling.deformed_pairs import DeformedPairSampler
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, Preprocessing
from acreg.models import JRSNet
from acreg.models.joint_losses import soft_mask
from acreg.registration.methods import PresetMethod
from tests.models.conftest import shake

FULL = {"mutual_information": 1, "ssim": 1, "mask": 1, "displacement_error": 1, "adversarial": 1, "cycle": 10}
SMALL = {"filters": 4, "blocks": 2, "discriminator_filters": 2, "num_classes": 2}


def discs(count: int = 4, size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Bright ellipses on a dark ground, and their masks."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    images, labels = [], []
    for _ in range(count):
        (r, c), (a, b) = rng.uniform(9, 14, 2), rng.uniform(3, 7, 2)
        inside = ((rows - r) / a) ** 2 + ((columns - c) / b) ** 2 < 1
        images.append(0.2 + 0.6 * inside + rng.normal(0, 0.03, inside.shape))
        labels.append(inside)
    return np.stack(images)[..., None].astype(np.float32), np.stack(labels)[..., None].astype(np.int32)


def batch(count: int = 4) -> dict[str, np.ndarray]:
    return DeformedPairSampler(*discs(), count, seed=0).batch(0)


def trained(steps: int, **arguments) -> tuple[JRSNet, dict[str, list[float]]]:
    keras.utils.set_random_seed(0)
    model = JRSNet(**{**SMALL, "losses": FULL, **arguments})
    # Eagerly, a few steps take less time than tracing one.
    model.compile(optimizer=keras.optimizers.Adam(2e-3, beta_1=0.9), run_eagerly=steps < 10)
    sampler = DeformedPairSampler(*discs(), 4, seed=0)
    history: dict[str, list[float]] = {}
    for step in range(steps):
        for name, value in model.train_on_batch(sampler.batch(step), return_dict=True).items():
            history.setdefault(name, []).append(float(value))
        model.reset_metrics()
    return model, history


def numpy(value) -> np.ndarray:
    return ops.convert_to_numpy(value)


def test_the_soft_mask_is_near_otsus_hard_one() -> None:
    rng = np.random.default_rng(0)
    bright = rng.random((2, 30, 30, 1)) < 0.3
    values = np.where(bright, 0.8, 0.2).astype(np.float32) + rng.normal(0, 0.03, bright.shape).astype(np.float32)
    np.testing.assert_allclose(numpy(soft_mask(values)), bright, atol=0.02)


@pytest.mark.parametrize("direct", [False, True])
def test_training_lowers_each_loss_of_the_generator(direct: bool) -> None:
    _, history = trained(60, direct=direct, losses={**FULL, "adversarial": 0, "cycle": 0})
    for name in ("mutual_information", "ssim", "mask"):
        assert np.mean(history[name][-8:]) < np.mean(history[name][:8]), name
    assert history["mask"][0] > 0.3 and np.mean(history["mask"][-8:]) < 0.8 * history["mask"][0]


def test_the_adversaries_pull_at_their_own_weights_alone() -> None:
    """The generators' share moves no discriminator, the discriminators' share no generator."""
    keras.utils.set_random_seed(0)
    model = JRSNet(**SMALL, losses={"adversarial": 1})
    x = {name: ops.convert_to_tensor(value) for name, value in batch().items()}
    weights = [*model.network.trainable_variables, *model.judge_fixed.trainable_variables]
    generator = len(model.network.trainable_variables)

    def gradients(name: str) -> list[np.ndarray]:
        if keras.backend.backend() != "tensorflow":
            pytest.skip("gradients are taken with TensorFlow's tape")
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = model.loss_terms(x, model(x, training=True))[name]
        return [np.zeros(1) if g is None else numpy(g) for g in tape.gradient(value, [v.value for v in weights])]

    fooling, judging = gradients("adversarial"), gradients("discriminator")
    assert max(np.abs(g).max() for g in fooling[:generator]) > 0
    assert all((g == 0).all() for g in fooling[generator:])
    assert all((g == 0).all() for g in judging[:generator])
    assert max(np.abs(g).max() for g in judging[generator:]) > 0


def test_an_adversarial_training_judges_better_than_chance_and_goes_round_the_cycle() -> None:
    _, history = trained(60, losses={"adversarial": 0.05, "cycle": 10, "mutual_information": 1})
    assert history["discriminator"][0] == pytest.approx(np.log(2), abs=0.05)
    assert min(history["discriminator"]) < 0.6
    assert np.mean(history["cycle"][-8:]) < np.mean(history["cycle"][:8])


@pytest.mark.parametrize(
    ("kind", "wanted"), [("non_saturating", 2 * np.log1p(np.exp(-1.5))), ("minimax", -2 * np.log1p(np.exp(1.5)))]
)
def test_the_adversarial_loss_by_hand(kind: str, wanted: float) -> None:
    """Of two discriminators that find each result real with the logit 1.5."""
    model = JRSNet(**SMALL, losses={"adversarial": 1}, adversarial_loss=kind)
    for judge in (model.judge_fixed, model.judge_moving):
        judge.get_layer("logits").set_weights([np.zeros((32, 1)), np.array([1.5])])
    x = {name: ops.convert_to_tensor(value) for name, value in batch().items()}
    terms = model.loss_terms(x, model(x, training=True))
    assert float(terms["adversarial"]) == pytest.approx(wanted, rel=1e-5)
    judged = (np.log1p(np.exp(-1.5)) + np.log1p(np.exp(1.5))) / 2
    assert float(terms["discriminator"]) == pytest.approx(judged, rel=1e-5)


def test_discriminators_of_all_outputs_compare_image_mask_and_displacement() -> None:
    """With outputs that are the true ones, there is nothing to tell apart; without the truth, nothing to compare."""
    model = JRSNet(**SMALL, losses={"adversarial": 1}, judged="outputs", adversarial_loss="minimax")
    assert model.judge_fixed.input.shape == model.judge_moving.input.shape == (None, None, None, 1 + 1 + 2)
    x = batch()
    for role, field in (("fixed", "displacement"), ("moving", "inverse_displacement")):
        mask = (x[f"{role}_labels"] > 0).astype(np.float32)
        real, made = model._judged_pair(x, role, {"image": x[role], "activation": mask, "field": x[field]})
        np.testing.assert_allclose(numpy(real), numpy(made), atol=1e-4)
        lengths = np.linalg.norm(numpy(real)[..., 2:], axis=-1).max(axis=(1, 2))
        np.testing.assert_allclose(lengths, 1, rtol=1e-4)
    del x["inverse_displacement"]
    with pytest.raises(ValueError, match=r"judged='outputs' and inputs without \['inverse_displacement'\]"):
        model.compute_loss(x, y_pred=model(x, training=True))


def test_an_evaluation_changes_nothing_of_the_model() -> None:
    model, _ = trained(2)
    before = [numpy(v).copy() for v in model.variables]
    first, second = (model.test_on_batch(batch(), return_dict=True) for _ in range(2))
    assert first == pytest.approx(second) and first["adversarial"] > 0
    kept = {id(v) for tracker in model.metrics for v in tracker.variables}
    for variable, value in zip(model.variables, before, strict=True):
        if id(variable) not in kept:
            np.testing.assert_array_equal(numpy(variable), value, err_msg=variable.path)


def test_pretraining_lowers_the_mean_squared_error_alone_and_then_ends() -> None:
    x = batch()
    model, history = trained(3, pretraining_steps=2)
    error = np.mean((x["fixed"] - x["moving"]) ** 2)
    assert history["loss"][0] == pytest.approx(error, rel=0.2)
    weighted = sum(FULL[name] * history[name][2] for name in FULL) + history["discriminator"][2]
    assert history["loss"][2] == pytest.approx(weighted, rel=1e-4) and history["loss"][2] > 5 * history["loss"][0]
    assert float(numpy(model.steps)) == 3


def test_the_mask_is_shown_in_training_alone_and_to_its_share() -> None:
    x = {name: ops.convert_to_tensor(value) for name, value in batch(4).items()}
    model = JRSNet(**SMALL, losses={"mask": 1}, mask_share=0.5)
    sums = np.concatenate([numpy(ops.sum(model._network_inputs(x, True)["mask"], axis=(1, 2, 3))) for _ in range(40)])
    wanted = numpy(ops.sum(ops.cast(x["fixed_labels"] > 0, "float32"), axis=(1, 2, 3)))
    assert set(sums.tolist()) == {0.0, *wanted.tolist()}
    assert 0.35 < (sums > 0).mean() < 0.65
    assert numpy(model._network_inputs(x, False)["mask"]).max() == 0
    never = JRSNet(**SMALL, losses={"mask": 1}, mask_share=0)
    assert numpy(never._network_inputs(x, True)["mask"]).max() == 0


def test_a_model_that_takes_a_mask_is_given_it_when_it_registers(tmp_path) -> None:
    model = shake(JRSNet(**SMALL, losses={"displacement_error": 1, "mask": 1}, mask_share=1, takes_mask=True, levels=1))
    x = batch()
    np.testing.assert_array_equal(numpy(model._network_inputs(x, False)["mask"]), x["fixed_labels"] > 0)
    model.preprocessing = Preprocessing(shape=(24, 24), label_values=[0, 1])
    model.save_preset(tmp_path / "preset")
    loaded = acreg.from_preset(tmp_path / "preset")
    images, labels = discs(2)
    pair = dict(zip(("fixed", "moving"), (image[..., 0] for image in images), strict=True))
    mask = Image.from_array(7 * labels[0, ..., 0], kind="labels")  # any value but 0 is inside
    seen = {role: model.preprocessing.apply(Image.from_array(image))[None] for role, image in pair.items()}
    wanted = model({**seen, "fixed_labels": labels[:1]})
    found = loaded.register(**pair, fixed_mask=mask)
    np.testing.assert_allclose(found.displacement, numpy(wanted["displacement"])[0], atol=1e-3)
    again = acreg.register(**pair, model=loaded, fixed_mask=mask).transform
    np.testing.assert_allclose(again.displacement, found.displacement)
    empty = loaded.register(**pair, fixed_mask=Image.from_array(0 * labels[0, ..., 0], kind="labels"))
    assert np.abs(empty.displacement - found.displacement).max() > 0.01
    assert loaded.segment(**pair, fixed_mask=mask).grid == found.fixed
    with pytest.raises(UsageError, match="Received: a pair without a mask. Give fixed_mask"):
        loaded.register(**pair)
    with pytest.raises(UsageError, match="Networks that take two images are exported"):
        export(tmp_path / "preset", tmp_path / "network.onnx")
    model.takes_mask = False
    with pytest.raises(UsageError, match="Received: fixed_mask for another network"):
        model.register(**pair, fixed_mask=mask)
    with pytest.raises(UsageError, match=r"Received: fixed_mask with model="):
        acreg.register(**pair, model=model, fixed_mask=mask)


def test_a_preset_has_the_generator_alone_and_registers_and_segments_as_the_model_did(tmp_path) -> None:
    model, _ = trained(4, losses={**FULL, "adversarial": 0.05}, pretraining_steps=1)
    model.preprocessing = Preprocessing(shape=(24, 24), label_values=[0, 1])
    model.save_preset(tmp_path / "preset")
    loaded = acreg.from_preset(tmp_path / "preset")
    assert loaded.reverse is None and loaded.count_params() == model.network.count_params()
    images, _ = discs(2)
    fixed, moving = (Image(image[..., 0], Grid((24, 24), (2.0, 3.0))) for image in images)
    found, wanted = loaded.register(fixed=fixed, moving=moving), model.register(fixed=fixed, moving=moving)
    np.testing.assert_allclose(found.displacement, wanted.displacement, atol=1e-4)
    mask = loaded.segment(fixed=fixed, moving=moving)
    assert mask.kind == "labels" and mask.grid == fixed.grid and set(np.unique(mask.array)) == {0, 1}
    np.testing.assert_array_equal(mask.array, model.segment(fixed=fixed, moving=moving).array)


def test_a_model_goes_through_keras_file_with_its_adversaries(tmp_path) -> None:
    model, _ = trained(2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert len(loaded.weights) == len(model.weights) and loaded.reverse is not None
    x = batch()
    np.testing.assert_allclose(numpy(loaded(x)["displacement"]), numpy(model(x)["displacement"]), atol=1e-6)
    for mine, theirs in zip(model.judge_fixed.get_weights(), loaded.judge_fixed.get_weights()):
        np.testing.assert_array_equal(mine, theirs)


def test_volumes_and_half_precision() -> None:
    rng = np.random.default_rng(0)
    x = {name: rng.random((1, 8, 9, 7, 1), np.float32) for name in ("moving", "fixed")}
    model = JRSNet(rank=3, filters=4, blocks=1, losses={"ssim": 1}, dtype="mixed_float16")
    found = model(x)
    assert found["displacement"].shape == (1, 8, 9, 7, 3) and np.isfinite(numpy(found["activation"])).all()
    assert keras.backend.standardize_dtype(found["displacement"].dtype) == "float32"


def test_refusals(tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"`mask_share` from 0 to 1.*mask_share=1.5"):
        JRSNet(**SMALL, mask_share=1.5)
    with pytest.raises(ValueError, match="must see masks in training. Received: takes_mask=True, mask_share=0"):
        JRSNet(**SMALL, takes_mask=True, mask_share=0)
    with pytest.raises(ValueError, match=r"`levels` and `pretraining_steps` not negative.*levels=-1"):
        JRSNet(**SMALL, levels=-1)
    with pytest.raises(ValueError, match=r"`judged` must be one of .*Received: judged='all', adversarial_loss='least"):
        JRSNet(**SMALL, judged="all", adversarial_loss="least_squares")
    with pytest.raises(ValueError, match="'mask' compares labels and needs `num_classes`"):
        JRSNet(filters=4, blocks=1, losses={"mask": 1})
    for wrong in ({"weighting": "uncertainty"}, {"integration_steps": 4}, {"labels_per_step": 1}):
        with pytest.raises(ValueError, match=f"Adversaries .*need `weighting='fixed'`.*{next(iter(wrong))}"):
            JRSNet(**SMALL, losses={"ssim": 1, "adversarial": 1}, **wrong)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="The perceptual loss is off: it needs the weights of VGG16"):
        model = JRSNet(**SMALL, losses={"ssim": 1, "perceptual": 1})
    assert model.loss_weights["perceptual"] == 0 and "perceptual" not in model.trackers
    with pytest.raises(AcregError, match="needs the weights of VGG16. Received: .*, which is no file"):
        JRSNet(**SMALL, losses={"perceptual": 1}, perceptual_weights=tmp_path / "absent.h5")
    model = JRSNet(**SMALL, losses={"displacement_error": 1})
    x = batch()
    del x["displacement"]
    with pytest.raises(ValueError, match="need the true 'displacement' among the inputs of training"):
        model.compute_loss(x, y_pred=model(x, training=True))


def test_without_the_loss_on_the_mask_nothing_is_segmented(tmp_path) -> None:
    model = JRSNet(**SMALL, losses={"ssim": 1, "mask": 0}, preprocessing=Preprocessing(shape=(24, 24)))
    model.save_preset(tmp_path / "noseg")
    image = Image(discs(1)[0][0, ..., 0], Grid((24, 24)))
    loaded = acreg.from_preset(tmp_path / "noseg")
    assert not loaded.segments and "threshold" not in loaded._registering.network.predict(batch())
    with pytest.raises(UsageError, match=r"trained with the loss 'mask'\. Received: a JRSNet without it"):
        loaded.segment(fixed=image, moving=image)
    assert PresetMethod(str(tmp_path / "noseg")).segment(fixed=image, moving=image) is None
