"""Presets from strangers: whatever is in their files, one paragraph names the file, and no memory is taken."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.io import Preprocessing, stored_weights
from acreg.io.preset_config import sha256_of
from acreg.models import JRSNet, from_preset

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def saved(make_model: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("unet").save_preset(tmp_path_factory.mktemp("saved") / "mine")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "preset"))


def content_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def refused(folder: Path, said: str) -> None:
    """One paragraph that names a file of the preset, and no memory taken."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AcregError, match=said) as caught:
        from_preset(folder)
    message = str(caught.value)
    assert caught.value.exit_code == 1 and "\n" not in message and str(folder) in message and len(message) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "KiB"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"losses": "ncc"}, "losses='ncc'.*dictionary"),
        ({"losses": {"ncc": "1"}}, "losses.*ncc.*number"),
        ({"losses": {"ncc": float("inf")}}, "the number Infinity"),
        ({"losses": {f"loss{i}": 1.0 for i in range(1000)}}, "at most 100"),
        ({"filters": [10**9, 10**9]}, "filters must be from 0 to 65536, not 1000000000"),
        ({"filters": [60_000, 60_000]}, "where [0-9]{11,} are needed"),
        ({"filters": [-4, 8]}, "filters must be from 0"),
        ({"filters": [4.5, 8]}, "filters.*valid integer"),
        ({"filters": [True, 8]}, "filters.*valid integer"),
        ({"filters": ["4", "8"]}, "filters.*valid integer"),
        ({"filters": [4] * 10_000}, "filters must be at most 16"),
        ({"filters": [[4], [8]]}, "filters.*valid integer"),
        ({"filters": {"a": 4}}, "filters: .*Sequence"),
        ({"filters": 0}, "filters"),
        ({"rank": "2"}, "rank='2'.*valid integer"),
        ({"rank": None}, "rank=None"),
        ({"rank": 7}, "rank=7"),
        ({"channels": 10**30}, "channels"),
        ({"channels": 0}, "refused by RegNet|could not be loaded"),
        ({"dropout": "half"}, "dropout"),
        ({"dropout": 5.0}, "refused by RegNet"),
        ({"network": ["unet"]}, "network.*valid string"),
        ({"network": "x" * 100_000}, "network must be at most 4096"),
        ({"integration_steps": 10**9}, "integration_steps must be from 0 to 32"),
        ({"integration_steps": -3}, "integration_steps must be from 0"),
        ({"recompute": ["/etc/passwd"]}, "part to recompute"),
        ({"num_classes": {}}, "num_classes"),
        ({"autoencoder": {"class_name": "Lambda"}}, "no argument 'autoencoder'"),
        ({"dtype": {"class_name": "os.system"}}, "no argument 'dtype'"),
        ({"preprocessing": {"shape": [64]}}, "RegNet|preprocessing"),
        ({"registered_name": "builtins>eval"}, "no argument 'registered_name'"),
        ({"filter": [4, 8]}, "did you mean filters"),
    ],
)
def test_arguments_are_checked_before_anything_is_built(arguments: dict[str, Any], said: str, folder: Path) -> None:
    content = content_of(folder)
    content["config"].update(arguments)
    (folder / "config.json").write_text(json.dumps(content))
    refused(folder, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class": ["RegNet"]}, "class.*valid string"),
        ({"class": "acreg.models.regnet.RegNet"}, "class must be one of"),
        ({"class": "keras.layers>Lambda"}, "class must be one of"),
        ({"class": "RegistrationModel"}, "class must be one of"),
        ({"class": "from_preset"}, "class must be one of"),
        ({"class": {"module": "os", "class_name": "system"}}, "class.*valid string"),
        ({"class": "JRSNet"}, "JRSNet"),
        ({"config": "filters"}, "config.*dictionary"),
        ({"config": None}, "config.*dictionary"),
        ({"format": True}, "format.*integer"),
        ({"format": "1"}, "format 1. Received: .*of format 1"),
        ({"acreg": ["x"] * 100}, "acreg.*string"),
        ({"weights_sha256": "0" * 64}, "weights_sha256"),
        ({"weights_sha256": 5}, "weights_sha256.*string"),
        ({"weights_sha256": "../x"}, "weights_sha256.*pattern"),
        ({"module": "os"}, "module"),
    ],
)
def test_the_other_keys_are_checked(change: dict[str, Any], said: str, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(content_of(folder) | change))
    refused(folder, said)


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "deep"),
        (b'{"a":' * 100_000, "deep"),
        (b'{"format": 1, "format": 1}', "twice"),
        (b'{"shape": [NaN]}', "NaN"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "digits"),
        (b"[]", "keys|object|dictionary"),
        (b"null", "keys|object|dictionary"),
        (b"\xff\xfe{}", "UTF-8"),
        (b" " * 2**27, "at most"),
    ],
    ids=["lists", "objects", "double", "nan", "digits", "list", "null", "utf-16", "large"],
)
def test_json_has_limits(name: str, content: bytes, said: str, folder: Path) -> None:
    (folder / name).write_bytes(content)
    refused(folder, said)


@pytest.mark.parametrize(
    "change",
    [{"shape": [2**40, 2**40]}, {"shape": [8, 8, 8]}, {"shape": "64"}, {"shape": [64.5, 64]}, {"spacing": [1e999, 1]}],
)
def test_preprocessing_is_checked(change: dict[str, Any], folder: Path) -> None:
    path = folder / "preprocessing.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change))
    refused(folder, "preprocessing")


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json", "model.weights.h5"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to itself", "link to nothing"])
def test_only_files_are_read(name: str, kind: str, folder: Path) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "link to itself": name, "link to nothing": "nothing"}[kind])
    refused(folder, name)


def test_a_link_to_a_file_is_followed(folder: Path, tmp_path: Path) -> None:
    """As in the caches of model hubs."""
    for path in list(folder.iterdir()):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    from_preset(folder)


def bomb(file: h5py.File, name: str) -> None:
    del file[name]
    file.create_dataset(name, shape=(100_000, 100_000), dtype="f4", chunks=(1000, 1000), compression="gzip")


def virtual(file: h5py.File, name: str) -> None:
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape)
    file.create_virtual_dataset(name, layout)


def external(file: h5py.File, name: str) -> None:
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def replaced(value: Any) -> Callable[[h5py.File, str], None]:
    def change(file: h5py.File, name: str) -> None:
        del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f, name: f.move(name, "elsewhere"), "could not be loaded"),
        (replaced(h5py.SoftLink("/")), "link to elsewhere"),
        (replaced(h5py.ExternalLink("/etc/passwd", "/")), "link to elsewhere"),
        (lambda f, name: f.__setitem__("again", f[name]), "there twice"),
        (lambda f, name: f.__setitem__("layers/loop", f["/"]), "there twice"),
        (bomb, "announces"),
        (virtual, "points to other files"),
        (external, "points to other files"),
        (replaced("text"), "arrays of numbers"),
        (replaced(np.zeros(3, "f4")), "could not be loaded"),
        (replaced(h5py.Empty("f4")), "arrays of numbers"),
        (lambda f, name: f[name].write_direct(np.full(f[name].shape, np.nan, "f4")), "not finite"),
        (lambda f, name: f.create_dataset("more", data=np.zeros(3)), "could not be loaded"),
    ],
    ids=[
        *("moved", "soft link", "external link", "hard link", "loop", "bomb", "virtual", "external", "text"),
        *("shape", "empty", "nan", "more"),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_are_checked(change: Callable[[h5py.File, str], object], said: str, folder: Path) -> None:
    path = folder / "model.weights.h5"
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        change(file, names[0])
    (folder / "config.json").write_text(json.dumps(content_of(folder) | {"weights_sha256": sha256_of(path)}))
    refused(folder, said)


def test_a_bit_that_changed_is_found(folder: Path) -> None:
    path = folder / "model.weights.h5"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 20):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        refused(folder, "weights_sha256")
    path.write_bytes(content[: len(content) // 2])
    refused(folder, "weights_sha256")


def test_a_preset_without_checksum_or_card_is_read(folder: Path) -> None:
    """acreg 0.1 wrote none."""
    (folder / "model_card.md").unlink()
    content = content_of(folder)
    del content["weights_sha256"]
    (folder / "config.json").write_text(json.dumps(content))
    from_preset(folder)


def test_repeated_parts_are_limited(tmp_path: Path) -> None:
    model = JRSNet(filters=2, blocks=1, discriminator_filters=2, preprocessing=Preprocessing(shape=(16, 16)))
    folder = model.save_preset(tmp_path / "preset")
    content = content_of(folder)
    content["config"]["blocks"] = 10**9
    (folder / "config.json").write_text(json.dumps(content))
    refused(folder, "blocks must be from 0 to 256")


def test_a_keras_file_makes_models_of_acreg_alone(make_model: Make, tmp_path: Path) -> None:
    path = tmp_path / "other.keras"
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save(path)
    with pytest.raises(AcregError, match="must hold a model of acreg.*its class is 'Sequential'|its class is"):
        make_model("unet").transfer_from(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(AcregError, match="must hold a model of acreg"):
        make_model("unet").transfer_from(path)


def test_weights_on_which_the_library_dies_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process reads them first."""
    program = tmp_path / "dies.py"
    program.write_text("import os\nos.abort()\n")
    monkeypatch.setattr(stored_weights, "PROGRAM", program)
    refused(folder, "on which the HDF5 library fails")
