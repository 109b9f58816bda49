"""Preset folders with a wrong or missing file, and names that are not known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import acreg
from acreg.errors import AcregError, UsageError
from acreg.inference import presets, shipped_presets
from acreg.models import RegNet, from_preset

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def saved(make_model: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("unet").save_preset(tmp_path_factory.mktemp("saved") / "mine", card="# Mine\n")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "preset"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json", "model.weights.h5"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(AcregError, match=rf"{name}|preprocessing settings .*{name}"):
        from_preset(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json", "model.weights.h5"])
@pytest.mark.parametrize("content", [b"", b"{not json", b"\x89\x00\xff garbage"])
def test_a_damaged_file_is_named(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(AcregError, match=rf"(?s)Received: .*{name}.*again") as caught:
        from_preset(folder)
    assert "\n" not in str(caught.value), "one paragraph"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update({"class": "VoxelMorph"}), "class must be one of ACRegNet.*Received: 'VoxelMorph'"),
        (lambda c: c.update({"format": 2}), "of format 2, written by acreg"),
        (lambda c: c.pop("config"), "must have the keys format, class and config"),
        (lambda c: c["config"].update(rank=5), "refused by RegNet .*rank=5"),
        (lambda c: c["config"].update(depth=5), "refused by RegNet"),
        (lambda c: c.update(config=[1]), r"config=\[1\]: Input should be a valid dictionary"),
        (lambda c: c["config"].update(filters="many"), "config must hold the arguments"),
    ],
)
def test_a_config_that_does_not_fit(change: Callable[[dict[str, Any]], object], said: str, folder: Path) -> None:
    rewrite(folder, change)
    with pytest.raises(AcregError, match=said):
        from_preset(folder)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("other", ["pyramid", "unet-3d", "unet-head-batch-norm"])
def test_weights_of_another_model_are_refused(other: str, folder: Path, make_model: Make, tmp_path: Path) -> None:
    strange = make_model(other).save_preset(tmp_path / "other")
    shutil.copy(strange / "model.weights.h5", folder)
    with pytest.raises(AcregError, match="weights_sha256 .*two presets cannot be mixed"):
        from_preset(folder)
    rewrite(folder, lambda content: content.pop("weights_sha256"))  # as in presets of acreg 0.1
    with pytest.raises(AcregError, match="could not be loaded into RegNet .*two presets cannot be mixed"):
        from_preset(folder)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("kind", ["unet", "acregnet", "pyramid-velocity"])
def test_a_layer_absent_from_the_weights_is_not_passed_over(kind: str, make_model: Make, tmp_path: Path) -> None:
    folder = make_model(kind).save_preset(tmp_path / "preset")
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        found: list[str] = []
        file.visit(lambda name: found.append(name) if name.endswith("vars/0") else None)
        del file[found[0].removesuffix("/vars/0")]
    rewrite(folder, lambda content: content.pop("weights_sha256"))
    with pytest.raises(AcregError, match="could not be loaded"):
        from_preset(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    model = from_preset(folder)
    model.network.get_layer("head").bias.assign([np.nan, 0.0])
    model.save_preset(folder)
    with pytest.raises(AcregError, match="1 of .* absent or not finite, such as .*head/bias"):
        from_preset(folder)


def test_preprocessing_of_another_rank_is_refused(folder: Path) -> None:
    content = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    (folder / "preprocessing.json").write_text(json.dumps(content | {"shape": [8, 8, 8]}))
    with pytest.raises(AcregError, match=r"one of 2 axes. Received: .*\(8, 8, 8\)"):
        from_preset(folder)


def test_unknown_names_get_the_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Path) -> None:
    shutil.copytree(saved, tmp_path / "acregnet-test")
    monkeypatch.setattr(presets, "SHIPPED", tmp_path)
    assert shipped_presets() == ["acregnet-test"]
    assert isinstance(acreg.from_preset("acregnet-test"), RegNet)
    with pytest.raises(UsageError, match="Did you mean 'acregnet-test'") as caught:
        from_preset("acregnet-tets")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="which is neither. These ship: acregnet-test"):
        from_preset(tmp_path / "nothing here")


def test_a_model_without_preprocessing_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(AcregError, match="`preprocessing` is None. Set"):
        RegNet(filters=(4, 8)).save_preset(tmp_path / "preset")
    assert not (tmp_path / "preset").exists()


def test_saving_twice_replaces_the_preset(make_model: Make, folder: Path) -> None:
    model = from_preset(folder)
    bias = model.network.get_layer("head").bias
    bias.assign([3.0, 4.0])
    model.save_preset(folder, card="# New\n")
    np.testing.assert_array_equal(from_preset(folder).network.get_layer("head").bias, [3, 4])
    assert (folder / "model_card.md").read_text(encoding="utf-8") == "# New\n"
    assert len(list(folder.iterdir())) == 4


def test_training_state_does_not_enter_a_preset(make_model: Make, make_batch: Make, tmp_path: Path) -> None:
    model = make_model("acregnet")
    plain = model.save_preset(tmp_path / "plain")
    model.compile(optimizer="adam")
    model.train_on_batch(make_batch(model))
    used = model.save_preset(tmp_path / "used")
    contents: list[list[str]] = []
    for folder in (plain, used):
        with h5py.File(folder / "model.weights.h5") as file:
            contents.append([])
            file.visit(contents[-1].append)
    assert contents[0] == contents[1]
    for a, b in zip(from_preset(used).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
