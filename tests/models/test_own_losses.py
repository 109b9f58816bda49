"""Losses with arguments, and losses that do not come with acreg."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from acreg.io import Preprocessing
from acreg.losses import LOSSES, Loss, local_ncc, soft_dice
from acreg.models import ACRegNet, RegistrationModel, RegNet, from_preset

Make = Callable[..., Any]
SMALL: dict[str, Any] = {"network": "unet", "filters": (4, 8), "dropout": 0.0}


@keras.saving.register_keras_serializable("test_own_losses")
def edges(fixed: Any, warped: Any, power: float = 2.0) -> Any:
    slopes = [x[:, 1:] - x[:, :-1] for x in (fixed, warped)]
    return ops.mean(ops.abs(slopes[0] - slopes[1]) ** power, axis=(1, 2, 3))


def shear(displacement: Any) -> Any:
    """Not registered."""
    return ops.mean(ops.square(displacement[:, :, 1:, 0] - displacement[:, :, :-1, 0]), axis=(1, 2))


def terms(model: Any, batch: Any) -> dict[str, float]:
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    return {name: float(value) for name, value in model.test_on_batch(batch, return_dict=True).items()}


def test_a_model_takes_arguments_of_a_loss_and_keeps_them(make_batch: Make, tmp_path: Path) -> None:
    losses = {"local_ncc": {"weight": 0.5, "window": 3}, "diffusion": 0.1}
    model = RegNet(**SMALL, losses=losses, preprocessing=Preprocessing(shape=(16, 16)))
    batch = make_batch(model, labels=False)
    logs, found = terms(model, batch), model(batch)
    expected = float(ops.mean(local_ncc(batch["fixed"], found["warped"], window=3)))
    assert logs["local_ncc"] == pytest.approx(expected, rel=1e-5)
    assert logs["loss"] == pytest.approx(0.5 * expected + 0.1 * logs["diffusion"], rel=1e-5)
    assert model.get_config()["losses"] == losses
    folder = model.save_preset(tmp_path / "preset")
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]["losses"] == losses
    assert terms(from_preset(folder), batch) == pytest.approx(logs, rel=1e-5)


def test_fit_trains_with_functions_of_ones_own(make_batch: Make) -> None:
    keras.utils.set_random_seed(0)
    model = RegNet(**SMALL, losses={edges: {"weight": 1, "power": 1.0}, shear: 0.01})
    batch = make_batch(model, size=4, labels=False, seed=3)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = model.fit(batch, batch_size=4, epochs=40, verbose=0).history
    assert set(history) == {"loss", "test_own_losses>edges", "shear", "folded_percent"}
    assert history["test_own_losses>edges"][-1] < 0.8 * history["test_own_losses>edges"][0]
    assert history["shear"][-1] > history["shear"][0] >= 0, "a field that registers shears"
    total = history["test_own_losses>edges"][-1] + 0.01 * history["shear"][-1]
    assert history["loss"][-1] == pytest.approx(total, rel=1e-5)


def test_a_registered_loss_is_saved_and_one_that_is_not_is_looked_for_in_keras_scope(
    make_batch: Make, tmp_path: Path
) -> None:
    losses: Any = {edges: {"weight": 2, "power": 1.0}, shear: 0.5}
    model = RegNet(**SMALL, losses=losses, preprocessing=Preprocessing(shape=(16, 16)))
    batch = make_batch(model, labels=False)
    folder = model.save_preset(tmp_path / "preset")
    model.save(tmp_path / "model.keras")
    with pytest.raises(Exception, match="imported. Received: 'shear'"):
        from_preset(folder)
    with keras.saving.custom_object_scope({"shear": shear}):
        loaded = from_preset(folder), keras.models.load_model(tmp_path / "model.keras", compile=False)
    for other in loaded:
        assert terms(other, batch) == pytest.approx(terms(model, batch), rel=1e-5)


def test_losses_on_labels_and_fields_of_ones_own(make_batch: Make) -> None:
    disc = Loss("disc", ("fixed_one_hot", "warped_one_hot"), lambda a, b: soft_dice(a[..., :2], b[..., :2]))
    rough = Loss("rough", ("field",), LOSSES["diffusion"].function)
    model = ACRegNet(3, losses={disc: 1.0, rough: 0.1, "ncc": 1.0}, weighting="softmax", **SMALL)
    batch = make_batch(model)
    logs = terms(model, batch)
    assert {"disc", "rough", "weight_disc"} <= set(logs) and 0 < logs["disc"] < 1
    assert model.loss_weighting.regularisers == ["rough"]
    with pytest.raises(ValueError, match=r"The losses \['disc'\] need labels. Received: inputs with"):
        model.test_on_batch({name: batch[name] for name in ("moving", "fixed")})
    with pytest.raises(ValueError, match="'disc' compares labels and needs `num_classes`"):
        RegNet(losses={disc: 1.0}, **SMALL)
    with pytest.raises(ValueError, match=r"treat each label alike. Received: 1 in a model with \['disc'\]"):
        RegNet(losses={disc: 1.0}, num_classes=3, labels_per_step=1, **SMALL)


def test_a_loss_that_needs_what_a_model_has_not_is_refused(make_batch: Make) -> None:
    model = RegNet(losses={Loss("odd", ("fixed", "activation"), edges): 1.0}, **SMALL)
    with pytest.raises(ValueError, match=r"what the model has, \[.*'warped'\].*'odd', which needs \['activation'\]"):
        model.loss_terms(batch := make_batch(model, labels=False), model(batch))


def test_a_loss_has_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"another name than .*, which are logged. Received: 'dice'"):
        RegNet(losses={Loss("dice", ("fixed", "warped"), edges): 1.0}, **SMALL)


def test_a_model_of_ones_own_adds_its_losses_as_a_list(make_batch: Make) -> None:
    class Brightness(RegistrationModel):
        """Also makes one number a pair, which its own loss compares with the fixed image's mean."""

        DEFAULT_LOSSES = {"ncc": 1.0, "brightness": 1.0, "soft_dice": 1.0}

        def __init__(self, **kwargs: Any) -> None:
            moving, fixed = (keras.Input((None, None, 1), name=name) for name in ("moving", "fixed"))
            both = keras.layers.Concatenate()([moving, fixed])
            mean = keras.layers.Dense(1, name="mean")(keras.layers.GlobalAveragePooling2D()(both))
            field = keras.layers.Conv2D(2, 3, padding="same", name="head")(both)
            network = keras.Model({"moving": moving, "fixed": fixed}, {"field": field, "mean": mean})
            own = Loss("brightness", ("fixed", "mean"), lambda fixed, mean: ops.abs(ops.mean(fixed) - mean))
            super().__init__(network, multiple=1, own_losses=[own], **kwargs)
            self.rank, self.channels = 2, 1

    model = Brightness()
    assert set(model.loss_weights) == {"ncc", "brightness"}, "without classes there are no losses of labels"
    assert set(Brightness(num_classes=3).loss_weights) == {"ncc", "brightness", "soft_dice"}
    batch = make_batch(model, labels=False)
    logs, found = terms(model, batch), model(batch)["mean"]
    assert logs["brightness"] == pytest.approx(float(ops.mean(ops.abs(batch["fixed"].mean() - found))), rel=1e-5)


def test_refinement_takes_arguments_and_functions(make_model: Make) -> None:
    model = make_model("pyramid")
    rng = np.random.default_rng(0)
    pair = {name: rng.random((16, 16)).astype(np.float32) for name in ("fixed", "moving")}
    found = [
        model.refine(**pair, steps=3, losses=losses, folding_limit=100.0).displacement
        for losses in ({"local_ncc": 1}, {"local_ncc": {"weight": 1, "window": 3}}, {edges: 1})
    ]
    assert min(np.abs(a - b).max() for a, b in pairwise(found)) > 1e-4
