"""Networks in ONNX give what Keras gives, without it and TensorFlow; a file that does not fit is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import acreg
from acreg.applications.verification.presets import made_pair
from acreg.errors import AcregError, UsageError
from acreg.inference import OnnxModel, OnnxNetwork
from acreg.inference.description import KEY, NetworkDescription
from acreg.inference.onnx_network import FILE
from acreg.inference.presets import SHIPPED
from acreg.io import write_image
from acreg.io.preset_config import read_preset_config, sha256_of

NAMES = sorted(path.parent.name for path in SHIPPED.glob(f"*/{FILE}"))
SMALL = "jrsnet-montgomery"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / SMALL, tmp_path / SMALL))


def change(folder: Path, edit: Callable[[onnx.ModelProto], object]) -> Path:
    path = folder / FILE
    proto = onnx.load(path)
    edit(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def describe(proto: onnx.ModelProto, **changed: Any) -> None:
    [entry] = [entry for entry in proto.metadata_props if entry.key == KEY]
    entry.value = (
        NetworkDescription.model_validate_json(entry.value).model_copy(update=changed).model_dump_json(by_alias=True)
    )


def test_every_preset_that_registers_has_one() -> None:
    others = ("autoencoder", "segmenter")
    assert NAMES == sorted(p.name for p in SHIPPED.iterdir() if p.is_dir() and not p.name.startswith(others))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", NAMES)
def test_both_engines_agree(name: str) -> None:
    onnx_model, keras_model = (acreg.from_preset(name, engine=engine) for engine in ("onnx", "keras"))
    assert isinstance(onnx_model, OnnxModel) and isinstance(keras_model, acreg.models.RegistrationModel)
    for key in ("rank", "channels", "integration_steps", "preprocessing"):
        assert getattr(onnx_model, key) == getattr(keras_model, key)
    fixed, moving = made_pair(keras_model.preprocessing)
    batch = {"fixed": [fixed, moving], "moving": [moving, fixed]}
    found, expected = (model.register_many(**batch) for model in (onnx_model, keras_model))
    for ours, theirs in zip(found, expected, strict=True):
        spacing = np.array(keras_model.preprocessing.grid(fixed).spacing) / ours.fixed.spacing
        np.testing.assert_allclose(ours.displacement / spacing, theirs.displacement / spacing, atol=1e-4)
    shape = keras_model.preprocessing.shape
    assert onnx_model.estimate_memory(shape) == keras_model.estimate_memory(shape)


def test_the_affine_part() -> None:
    parts = [acreg.from_preset("affine-deformable-brain", engine=engine).affine_part() for engine in ("onnx", "keras")]
    fixed, moving = made_pair(parts[0].preprocessing)
    ours, theirs = (part.register(fixed=fixed, moving=moving) for part in parts)
    np.testing.assert_allclose(ours.displacement, theirs.displacement, atol=1e-4)
    with pytest.raises(UsageError, match=r"predicts an affine map\. Received: jrsnet-montgomery, a JRSNet"):
        acreg.from_preset(SMALL, engine="onnx").affine_part()


def test_masks_agree() -> None:
    models = [acreg.from_preset(SMALL, engine=engine) for engine in ("onnx", "keras")]
    fixed, moving = made_pair(models[0].preprocessing)
    ours, theirs = (model.segment(fixed=fixed, moving=moving).array for model in models)
    assert 0 < ours.mean() < 1 and np.mean(ours != theirs) < 1e-3
    with pytest.raises(UsageError, match=r"network that segments\. Received: acregnet-jsrt, a ACRegNet"):
        acreg.from_preset("acregnet-jsrt").segment(fixed=fixed, moving=moving)


def test_refinement_loads_the_keras_model() -> None:
    model = acreg.from_preset("acregnet-jsrt")
    fixed, moving = made_pair(model.preprocessing)
    refined = model.refine(fixed=fixed, moving=moving, steps=1)
    assert np.abs(refined.displacement - model.register(fixed=fixed, moving=moving).displacement).max() > 0
    with pytest.raises(AttributeError, match=r"not trained or changed\. Received: \.compile of .*engine='keras'"):
        model.compile()


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("ACREG_ENGINE", "keras")
    assert isinstance(acreg.from_preset(SMALL), acreg.models.JRSNet)
    assert isinstance(acreg.from_preset(SMALL, engine="onnx"), OnnxModel)
    monkeypatch.setenv("ACREG_ENGINE", "torch")
    with pytest.raises(UsageError, match=r"one of onnx, keras\. Received: 'torch' in the environment variable"):
        acreg.from_preset(SMALL)
    monkeypatch.delenv("ACREG_ENGINE")
    (folder / FILE).unlink()
    assert isinstance(acreg.from_preset(folder), acreg.models.JRSNet)
    with pytest.raises(AcregError, match=r"Received: .*, which has none\. Write it with `acreg export"):
        acreg.from_preset(folder, engine="onnx")


@pytest.mark.parametrize(
    "how", [("--model", "acregnet-jsrt"), ("--model", "svfnet-hippocampus"), ("--method", "acreg:rigid")]
)
def test_a_registration_imports_neither_keras_nor_tensorflow(how: tuple[str, str], tmp_path: Path) -> None:
    model = acreg.from_preset(how[1] if how[0] == "--model" else SMALL)
    for role, image in zip(("fixed", "moving"), made_pair(model.preprocessing), strict=True):
        write_image(image, tmp_path / f"{role}.nii.gz")
    command = ["register", *how, "--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", "--out", "out"]
    call = [sys.executable, "-X", "importtime", "-m", "acreg.cli.main", *command]
    environment = {key: value for key, value in os.environ.items() if key != "ACREG_ENGINE"}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and (tmp_path / "out" / "result.json").exists(), done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    heavy = {"tensorflow", "keras", "matplotlib", "sklearn", "scipy.stats", "ray"}
    assert "numpy" in imported and heavy & imported == set()


def cut(folder: Path) -> None:
    path = folder / FILE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_network(folder: Path) -> None:
    shutil.copy(SHIPPED / "acregnet-montgomery" / FILE, folder / FILE)


def other_weights(folder: Path) -> None:
    change(folder, lambda proto: describe(proto, weights_sha256="0" * 64))


def later_opset(folder: Path) -> None:
    change(folder, lambda proto: setattr(proto.opset_import[0], "version", 999))


def external_data(folder: Path) -> None:
    def edit(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer.add(name="far", data_type=TensorProto.FLOAT, dims=[4])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../secret")

    change(folder, edit)


def external_data_in_a_loop(folder: Path) -> None:
    def edit(proto: onnx.ModelProto) -> None:
        far = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        far.external_data.add(key="location", value="/etc/passwd")
        inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=far)], "inner", [], [])
        proto.graph.node.append(helper.make_node("If", ["fixed"], ["d"], then_branch=inner, else_branch=inner))

    change(folder, edit)


def foreign_operation(folder: Path) -> None:
    def edit(proto: onnx.ModelProto) -> None:
        proto.graph.node.append(helper.make_node("Run", ["fixed"], ["e"], domain="com.stranger"))
        proto.opset_import.add(domain="com.stranger", version=1)

    change(folder, edit)


def own_function(folder: Path) -> None:
    def edit(proto: onnx.ModelProto) -> None:
        node = helper.make_node("Identity", ["x"], ["y"])
        proto.functions.append(helper.make_function("", "F", ["x"], ["y"], [node], proto.opset_import))

    change(folder, edit)


def no_description(folder: Path) -> None:
    change(folder, lambda proto: proto.ClearField("metadata_props"))


def wrong_description(folder: Path) -> None:
    change(folder, lambda proto: describe(proto, rank=7))


def three_axes(folder: Path) -> None:
    change(folder, lambda proto: describe(proto, rank=3))


def missing_weight(folder: Path) -> None:
    def edit(proto: onnx.ModelProto) -> None:
        [text] = [entry.value for entry in proto.metadata_props if entry.key == KEY]
        stored = NetworkDescription.model_validate_json(text).stored
        describe(proto, stored=[stored[0].model_copy(update={"path": "layers/nothing"}), *stored[1:]])

    change(folder, edit)


def wrong_preprocessing(folder: Path) -> None:
    def edit(proto: onnx.ModelProto) -> None:
        [entry] = [entry for entry in proto.metadata_props if entry.key == KEY]
        entry.value = entry.value.replace('"preprocessing":{', '"preprocessing":{"colour":1,')

    change(folder, edit)


def weights_with_a_link(folder: Path) -> None:
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/hostname", "/secret")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["weights_sha256"] = sha256_of(folder / "model.weights.h5")
    (folder / "config.json").write_text(json.dumps(config))
    change(folder, lambda proto: describe(proto, weights_sha256=config["weights_sha256"]))


def changed_argument(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["config"]["mask_share"] = 0.25
    (folder / "config.json").write_text(json.dumps(config))


def no_field(folder: Path) -> None:
    def edit(proto: onnx.ModelProto) -> None:
        kept = [port for port in proto.graph.output if port.name == "activation"]
        del proto.graph.output[:]
        proto.graph.output.extend(kept)

    change(folder, edit)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "must be whole.*cut short"),
        (other_network, "exported from other weights or another model"),
        (other_weights, "exported from other weights or another model"),
        (later_opset, "operations that ONNX Runtime knows.*opset 999"),
        (external_data, "holds its own weights.*far lies in another file"),
        (external_data_in_a_loop, "holds its own weights.*far lies in another file"),
        (foreign_operation, "operations of ONNX alone.*com.stranger"),
        (own_function, "operations of ONNX alone.*its own"),
        (no_description, "written by `acreg export`"),
        (wrong_description, "metadata of an exported network.*rank"),
        (three_axes, "takes a fixed and a moving image of 3 axes|one of 3 axes"),
        (missing_weight, "needs an array that .* does not have"),
        (wrong_preprocessing, "metadata of an exported network.*colour"),
        (weights_with_a_link, "link"),
        (changed_argument, "exported before config.json changed.*or choose the engine keras"),
        (no_field, "gives a field.*to activation"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(spoil: Callable[[Path], None], said: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(AcregError, match=rf"(?s){said}") as caught:
        acreg.from_preset(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_every_shipped_network_knows_the_arguments_of_its_preset() -> None:
    for name in NAMES:
        known = OnnxNetwork.of_preset(SHIPPED / name).description.config_sha256
        assert known == read_preset_config(SHIPPED / name).config_sha256


def test_a_network_without_its_preset_is_refused(folder: Path) -> None:
    with pytest.raises(AcregError, match=r"weights in the file beside it\. Received: .*network\.onnx alone"):
        OnnxNetwork(folder / FILE)
