"""A model and a loss that another package registered with Keras, in a recipe and in a preset."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from keras import layers, ops

import acreg
from acreg.errors import AcregError, UsageError
from acreg.models import RegistrationModel, registered
from acreg.models.arguments import constructor_types
from acreg.training import load_recipe, run_recipe
from acreg.training.build import model_classes


@keras.saving.register_keras_serializable("elsewhere")
class TwoConvolutions(RegistrationModel):
    """The least that a model needs: a network, the arguments that made it, and its configuration."""

    DEFAULT_LOSSES = {"ncc": 1.0, "diffusion": 0.1}

    def __init__(self, rank: int = 2, channels: int = 1, filters: int = 8, **kwargs: Any) -> None:
        shape = (None,) * rank + (channels,)
        moving, fixed = keras.Input(shape, name="moving"), keras.Input(shape, name="fixed")
        convolution = {2: layers.Conv2D, 3: layers.Conv3D}[rank]
        x = layers.Concatenate(name="pair")([moving, fixed])
        x = convolution(filters, 3, padding="same", activation="relu", name="encoder1")(x)
        field = convolution(rank, 3, padding="same", name="head")(x)
        super().__init__(keras.Model({"moving": moving, "fixed": fixed}, {"field": field}), multiple=1, **kwargs)
        self.filters = filters

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rank": self.rank, "channels": self.channels, "filters": self.filters}


@keras.saving.register_keras_serializable("elsewhere")
def edges(fixed: Any, warped: Any, power: float = 2.0) -> Any:
    slopes = [x[:, 1:] - x[:, :-1] for x in (fixed, warped)]
    return ops.mean(ops.abs(slopes[0] - slopes[1]) ** power, axis=(1, 2, 3))


LOSSES = {"local_ncc": {"weight": 1.0, "window": 5}, "elsewhere>edges": {"weight": 0.5, "power": 1.0}, "diffusion": 0.1}


@pytest.fixture
def recipe_path(discs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere.yaml"
    content = {
        "data": {"dataset": str(discs), "shape": [16, 16], "validation_pairs": 2},
        "model": {"class": "elsewhere>TwoConvolutions", "arguments": {"filters": 4, "losses": LOSSES}},
        "training": {"steps": 2, "batch_size": 2},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_it_is_trained_by_a_recipe_and_used_from_its_preset(recipe_path: Path, tmp_path: Path) -> None:
    run_recipe(load_recipe(recipe_path), tmp_path / "run")
    header = (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"local_ncc", "elsewhere>edges", "val_elsewhere>edges"} <= set(header)
    model = acreg.from_preset(tmp_path / "run" / "preset")
    assert type(model) is TwoConvolutions and model.filters == 4 and model.get_config()["losses"] == LOSSES
    pair = {name: np.random.default_rng(0).random((20, 18), np.float32) for name in ("fixed", "moving")}
    found = model.register(**pair).displacement
    model.save_preset(tmp_path / "again")
    np.testing.assert_array_equal(acreg.from_preset(tmp_path / "again").register(**pair).displacement, found)

    model.save(tmp_path / "model.keras")
    other = TwoConvolutions(filters=4)
    other.transfer_from(tmp_path / "model.keras")
    np.testing.assert_array_equal(other.network.get_layer("head").kernel, model.network.get_layer("head").kernel)


def test_its_arguments_are_checked_as_those_of_acregs_models(recipe_path: Path, tmp_path: Path) -> None:
    known = constructor_types(model_classes()["elsewhere>TwoConvolutions"])
    assert {"filters", "losses", "weighting", "recompute"} <= set(known)
    assert not {"multiple", "network", "own_losses"} & set(known)
    with pytest.raises(UsageError, match=r"arguments of elsewhere>TwoConvolutions. Received: filter. Did you mean"):
        load_recipe(recipe_path, ["model.arguments.filter=3"])
    with pytest.raises(UsageError, match=r"registers with Keras .*Received: model.class=elsewhere>Two. Did you mean"):
        load_recipe(recipe_path, ["model.class=elsewhere>Two"])
    recipe = load_recipe(recipe_path, ["model.arguments.losses.local_ncc.windows=3"])
    with pytest.raises(
        UsageError, match=r"'local_ncc' must be one of \['window', 'epsilon'\]. Received: windows=3. Correct"
    ):
        run_recipe(recipe, tmp_path / "run")


def test_a_preset_of_an_unknown_package_says_what_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TwoConvolutions(filters=4, preprocessing=acreg.io.Preprocessing(shape=(16, 16)))
    folder = model.save_preset(tmp_path / "preset")
    monkeypatch.delitem(keras.saving.get_custom_objects(), "elsewhere>TwoConvolutions")
    with pytest.raises(AcregError, match="Received: 'elsewhere>TwoConvolutions' .*import the package that registers"):
        acreg.from_preset(folder)
    with keras.saving.custom_object_scope({"elsewhere>TwoConvolutions": TwoConvolutions}):
        assert type(acreg.from_preset(folder)) is TwoConvolutions


def test_an_installed_package_that_declares_an_entry_point_is_imported_when_a_model_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `pip install` leaves it: the module, and a folder with its metadata."""
    (tmp_path / "declared_elsewhere.py").write_text(
        "import keras\n"
        "from acreg.models import RegNet\n"
        "@keras.saving.register_keras_serializable('declared')\n"
        "class Net(RegNet):\n"
        "    pass\n"
        "@keras.saving.register_keras_serializable('declared')\n"
        "def difference(fixed, warped):\n"
        "    return keras.ops.mean(keras.ops.abs(fixed - warped), axis=(1, 2, 3))\n",
        encoding="utf-8",
    )
    declared = tmp_path / "declared_elsewhere-1.0.dist-info"
    declared.mkdir()
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: declared_elsewhere\nVersion: 1.0\n")
    (declared / "entry_points.txt").write_text(
        "[acreg.plugins]\ngood = declared_elsewhere\nbad = absent_elsewhere\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registered.load_plugins.cache_clear()
    with pytest.warns(UserWarning, match=r"Received: absent_elsewhere \(bad\), which raises ModuleNotFoundError"):
        found = model_classes()["declared>Net"]
    model = found(network="pyramid", filters=(8,), losses={"declared>difference": 1.0})
    again = acreg.from_preset(model.remade(preprocessing={"shape": (16, 16)}).save_preset(tmp_path / "preset"))
    assert type(again) is found and again.get_config()["losses"] == {"declared>difference": 1.0}
    for name in ("declared>Net", "declared>difference"):
        keras.saving.get_custom_objects().pop(name)
    sys.modules.pop("declared_elsewhere")
    registered.load_plugins.cache_clear()


@keras.saving.register_keras_serializable("elsewhere")
class OnlyIn3D(TwoConvolutions):
    """Its constructor has no `rank`, so that a recipe cannot give it."""

    def __init__(self, filters: int = 8, preprocessing: Any = None, losses: Any = None) -> None:
        super().__init__(3, 1, filters, preprocessing=preprocessing, losses=losses)


@keras.saving.register_keras_serializable("elsewhere")
class NotFunctional(RegistrationModel):
    """Its network is a layer, which does not say what it takes."""

    def __init__(self, preprocessing: Any = None, filters: int = 8, losses: Any = None) -> None:
        super().__init__(layers.Identity(), multiple=1, preprocessing=preprocessing, losses={"ncc": 1})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "model.class=elsewhere>OnlyIn3D",
            r"have 2 axes and 1 channels. Received: 3 axes and 1 channels. A constructor with .*`rank`",
        ),
        (
            "model.class=elsewhere>NotFunctional",
            r"of NotFunctional must be a functional keras.Model .* Received: Identity",
        ),
        (
            "training.mixed_precision=mixed_bfloat16",
            r"must pass its argument `dtype` on .*mixed_bfloat16, and no layer that computes in bfloat16. Correct that",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_recipe_is_refused_before_training(
    change: str, found: str, recipe_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=found):
        run_recipe(load_recipe(recipe_path, [change]), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_the_how_to_page_is_true(
    repository: Path, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module and its recipe, as they stand."""
    page = (repository / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
    module, use = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)
    (tmp_path / "mypackage.py").write_text(module + use, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    package = importlib.import_module("mypackage")
    path = tmp_path / "mine.yaml"
    rest = {"data": {"dataset": str(discs), "shape": [16, 16]}, "training": {"steps": 2}}
    path.write_text(text + yaml.safe_dump(rest), encoding="utf-8")
    recipe = load_recipe(path)
    model = model_classes()[recipe.model.class_name](**recipe.model.arguments)
    assert type(model) is package.MyNet and model.get_config()["losses"] == recipe.model.arguments["losses"]
    assert list(package.model.loss_weights) == ["ncc", "mypackage>edges", "wide_ncc", "diffusion"]
    pair = {name: np.random.default_rng(0).random((2, 16, 16, 1), np.float32) for name in ("moving", "fixed")}
    for each in (model, package.model, package.MyNet(rank=2)):
        each.compile(optimizer="adam", run_eagerly=True)
        assert np.isfinite(each.train_on_batch(pair)).all()
