"""What `fit` logs, that training learns through every loss, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from scipy import ndimage

from acreg.geometry import folding
from acreg.losses import LOSSES
from acreg.models import DDMR, ACRegNet, LabelAutoencoder, RegNet

Make = Callable[..., Any]
SMALL: dict[str, Any] = {"network": "unet", "filters": (4, 8)}


def trained(model: Any, batch: Any, steps: int, rate: float = 1e-2) -> list[dict[str, float]]:
    model.compile(optimizer=keras.optimizers.Adam(rate))
    return [model.train_on_batch(batch, return_dict=True) for _ in range(steps)]


def test_fit_logs_every_term_by_name(make_model: Make, make_batch: Make) -> None:
    weights = {name: 0.1 for name, loss in LOSSES.items() if "true_displacement" not in loss.needs}
    model = make_model("acregnet", losses={**weights, "anatomical_prior": 0.1}, dropout=0.0)
    model.compile(optimizer="adam")
    batch = make_batch(model)
    history = model.fit(batch, validation_data=(batch, None), batch_size=2, epochs=2, verbose=0).history
    names = {"loss", *model.loss_weights, "dice", "folded_percent"}
    assert set(history) == names | {f"val_{name}" for name in names}
    assert all(np.isfinite(values).all() and len(values) == 2 for values in history.values())
    for prefix in ("", "val_"):
        total = sum(weight * history[prefix + name][1] for name, weight in model.loss_weights.items())
        assert history[f"{prefix}loss"][1] == pytest.approx(total, rel=1e-4)


def test_fit_traces_the_step_once(make_batch: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its optimiser is made before, also one that scales the loss, whose state a second fit keeps."""
    traced: list[bool] = []
    step = RegNet.train_step
    monkeypatch.setattr(RegNet, "train_step", lambda self, data: (traced.append(True), step(self, data))[1])
    model = RegNet(**SMALL, losses={"ncc": 1.0})
    model.compile(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
    batch = make_batch(model, labels=False)
    for done in (1, 2):
        model.fit(batch, batch_size=len(batch["fixed"]), verbose=0)
        assert len(traced) == 1 and int(model.optimizer.iterations) == int(model.optimizer.step_counter) == done


def test_losses_without_weight_are_neither_computed_nor_logged(make_batch: Make) -> None:
    model = RegNet(**SMALL, losses={"ncc": 1.0, "bending": 0.0})
    model.compile(optimizer="adam")
    logs = model.test_on_batch(make_batch(model, labels=False), return_dict=True)
    assert set(logs) == {"loss", "ncc", "folded_percent"}


def test_logged_dice_and_folding_are_those_of_the_warped_labels(make_model: Make, make_batch: Make) -> None:
    model = make_model("acregnet")
    head = model.network.get_layer("head")
    head.kernel.assign(8 * np.asarray(head.kernel))  # a field that folds
    model.compile(optimizer="adam")
    batch = make_batch(model, size=3)
    logs = model.test_on_batch(batch, return_dict=True)
    displacement = keras.ops.convert_to_numpy(model(batch)["displacement"])

    scores, folded = [], []
    for u, moving, fixed in zip(displacement, batch["moving_labels"][..., 0], batch["fixed_labels"][..., 0]):
        points = np.moveaxis(u, -1, 0) + np.indices(moving.shape)
        shares = [ndimage.map_coordinates(1.0 * (moving == k), points, order=1, mode="grid-constant") for k in (1, 2)]
        warped = np.argmax([1 - sum(shares), *shares], axis=0)
        scores += [
            2 * ((warped == k) & (fixed == k)).sum() / ((warped == k).sum() + (fixed == k).sum()) for k in (1, 2)
        ]
        folded.append(folding(u)["folded_percent"])
    assert 0 < np.mean(folded) < 100
    assert logs["dice"] == pytest.approx(np.mean(scores), abs=1e-5)
    assert logs["folded_percent"] == pytest.approx(np.mean(folded), abs=1e-3)


@pytest.mark.parametrize("loss", ["cross_entropy", "soft_dice", "anatomical_prior"])
def test_training_follows_each_label_loss_through_the_warp(loss: str, make_batch: Make) -> None:
    """Labels that were warped without a gradient would leave the loss where it is."""
    keras.utils.set_random_seed(0)
    autoencoder = LabelAutoencoder((16, 16), num_classes=3, code_size=6)
    model = ACRegNet(3, autoencoder, **SMALL, dropout=0.0, losses={loss: 1.0})
    logs = trained(model, make_batch(model, seed=3), 60)
    assert logs[-1][loss] < 0.5 * logs[0][loss]
    if loss != "anatomical_prior":  # codes of an autoencoder that was not trained say nothing of overlap
        assert logs[-1]["dice"] > logs[0]["dice"]


@pytest.mark.parametrize("steps", [0, 5], ids=["displacement", "velocity"])
def test_the_pyramid_learns(steps: int, make_batch: Make) -> None:
    keras.utils.set_random_seed(0)
    losses = {"soft_dice": 1.0, "diffusion": 0.01}
    network = ACRegNet(3, losses=losses, network="pyramid", filters=(8, 8), integration_steps=steps)
    logs = trained(network, make_batch(network, seed=3), 40)
    assert logs[-1]["dice"] > 0.5 + 0.5 * logs[0]["dice"]


def test_image_losses_alone_register(make_batch: Make) -> None:
    keras.utils.set_random_seed(0)
    model = RegNet(**SMALL, dropout=0.0, num_classes=3, losses={"ncc": 1.0, "diffusion": 0.05})
    logs = trained(model, make_batch(model, seed=3), 60)
    assert logs[-1]["ncc"] < 0.5 * logs[0]["ncc"]
    assert logs[-1]["dice"] > logs[0]["dice"], "labels are only watched here"


def test_the_prior_is_frozen(make_batch: Make) -> None:
    autoencoder = LabelAutoencoder((16, 16), num_classes=3, code_size=6)
    before = autoencoder.get_weights()
    model = ACRegNet(3, autoencoder, **SMALL)
    first = [w.numpy().copy() for w in model.network.trainable_weights]
    assert not any("autoencoder" in weight.path for weight in model.trainable_weights)
    trained(model, make_batch(model), 2)
    for a, b in zip(before, model.autoencoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all((a != np.asarray(b)).any() for a, b in zip(first, model.network.trainable_weights))


def test_gradients_accumulate_over_batches(make_model: Make, make_batch: Make) -> None:
    """Two batches with accumulation are one step with both: exact for a network without batch statistics."""
    accumulating = make_model("pyramid")
    at_once = RegNet.from_config(accumulating.get_config())
    at_once.set_weights(accumulating.get_weights())
    before = accumulating.get_weights()
    batch = make_batch(accumulating, size=4, labels=False)
    accumulating.compile(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    at_once.compile(optimizer=keras.optimizers.SGD(0.1))
    accumulating.train_on_batch({name: value[:2] for name, value in batch.items()})
    for a, b in zip(before, accumulating.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    accumulating.train_on_batch({name: value[2:] for name, value in batch.items()})
    at_once.train_on_batch(batch)
    moved = 0.0
    for a, b, start in zip(accumulating.get_weights(), at_once.get_weights(), before, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
        moved = max(moved, float(np.abs(a - start).max()))
    assert moved > 1e-3


def test_label_losses_need_labels(make_model: Make, make_batch: Make) -> None:
    model = make_model("acregnet")
    model.compile(optimizer="adam")
    with pytest.raises(ValueError, match=r"losses \['cross_entropy', 'anatomical_prior'\] need labels.*fixed"):
        model.train_on_batch(make_batch(model, labels=False))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: RegNet(losses={"nnc": 1}), "one of .*'ncc'.*Received: 'nnc'"),
        (lambda: RegNet(losses={"ncc": -1}), "finite and not negative. Received: ncc=-1"),
        (lambda: RegNet(losses={"ncc": float("nan")}), "finite and not negative"),
        (lambda: RegNet(losses={"soft_dice": 1}), "'soft_dice' compares labels and needs `num_classes`"),
        (lambda: RegNet(losses={"anatomical_prior": 1}, num_classes=3), "Received: 'anatomical_prior'"),
        (lambda: RegNet(rank=4), "`rank` must be 2 or 3. Received: rank=4"),
        (lambda: DDMR(rank=1), "`rank` must be 2 or 3. Received: rank=1"),
        (lambda: DDMR(encoder=(4,), decoder=(4, 4)), r"belong to `head`. Received: encoder=\(4,\), decoder=\(4, 4\)"),
        (lambda: DDMR(encoder=(4,), decoder=(4,), downsize=4), "power of 2 up to 2.*Received: downsize=4"),
        (lambda: RegNet(network="vit"), "`network` must be one of .*Received: network='vit'"),
        (lambda: ACRegNet(4), "needs a trained `autoencoder`"),
        (lambda: ACRegNet(4, LabelAutoencoder((16, 16), num_classes=3)), "num_classes=3, num_classes=4"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()
