"""`acreg export`: the network of a preset, used without acreg as the page says, by acreg, and by TensorFlow."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import acreg
from acreg.applications.conversion import exporting
from acreg.applications.verification.presets import made_pair
from acreg.cli.main import app
from acreg.errors import AcregError, UsageError
from acreg.inference import OnnxModel
from acreg.io import Preprocessing
from acreg.models import RegNet, from_preset

pytest.importorskip("tf2onnx")
ALONE = "import sys\nfor name in ('acreg', 'keras', 'tensorflow', 'tf2onnx'):\n    sys.modules[name] = None\n"


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = RegNet(network="pyramid", filters=(16, 16), preprocessing=Preprocessing(shape=(24, 20)))
    generator = np.random.default_rng(0)
    model.set_weights([w + 0.1 * generator.standard_normal(w.shape).astype(w.dtype) for w in model.get_weights()])
    return model.save_preset(tmp_path_factory.mktemp("export") / "mine")


def batch(model: Any, count: int = 1) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    shape = (count, *model.preprocessing.shape, 1)
    return {name: generator.random(shape, np.float32) for name in ("fixed", "moving")}


def test_the_page_works_without_acreg(preset: Path, tmp_path: Path, repository: Path) -> None:
    made = acreg.export(preset, tmp_path / "acregnet.onnx")
    assert made.apart is not None and made.apart <= exporting.TOLERANCE and made.size == made.path.stat().st_size
    [program] = re.findall(
        r"```python\n(.*?)```", (repository / "docs/how-to/onnx.md").read_text(encoding="utf-8"), re.S
    )
    model = from_preset(preset)
    images = batch(model)
    for name, image in images.items():
        np.save(tmp_path / f"{name}.npy", image[0, ..., 0])
    call = [sys.executable, "-c", ALONE + program]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "'shape': [24, 20]" in done.stdout and "p + u(p)" in done.stdout
    found, expected = np.load(tmp_path / "displacement.npy"), model.predict_field(images)["displacement"][0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_preset_that_is_exported_into_its_folder_runs_in_onnx(preset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(preset, tmp_path / "mine")
    fixed, moving = made_pair(from_preset(folder).preprocessing)
    before = acreg.from_preset(folder).register(fixed=fixed, moving=moving).displacement
    made = acreg.export(folder, folder / "network.onnx")
    alone = acreg.export(folder, tmp_path / "alone.onnx")
    weights = sum(weight.nbytes for weight in from_preset(folder).get_weights())
    assert alone.size - made.size > weights / 2, "the weights are stored once"
    model = acreg.from_preset(folder)
    assert isinstance(model, OnnxModel)
    np.testing.assert_allclose(model.register(fixed=fixed, moving=moving).displacement, before, atol=1e-4)
    with pytest.raises(AcregError, match="network.onnx"):
        acreg.export(folder, folder / "network.onnx")


def test_fixed_sizes(preset: Path, tmp_path: Path) -> None:
    from acreg.inference import OnnxNetwork

    network = OnnxNetwork(acreg.export(preset, tmp_path / "n.onnx", size="fixed").path)
    model = from_preset(preset)
    images = batch(model, count=3)
    found = network.predict(images)["displacement"]
    np.testing.assert_allclose(found, model.predict_field(images)["displacement"], atol=1e-4)
    with pytest.raises(AcregError, match=r"fixed sizes takes images of these\. Received: \(30, 20\)"):
        network.predict({name: np.zeros((1, 30, 20, 1), np.float32) for name in ("fixed", "moving")})


def test_a_saved_model(preset: Path, tmp_path: Path) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    made = acreg.export(preset, tmp_path / "served", format="saved_model")
    serve = tensorflow.saved_model.load(str(made.path)).signatures["serving_default"]
    model = from_preset(preset)
    images = batch(model, count=2)
    found = serve(**{name: tensorflow.constant(image) for name, image in images.items()})
    np.testing.assert_allclose(found["displacement"], model.predict_field(images)["displacement"], atol=1e-5)


def test_a_network_that_differs_is_not_written(preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_difference", lambda *_: 0.1)
    with pytest.raises(AcregError, match=r"to 0\.0001 voxels\. Received: .*, which differs by 0\.1"):
        acreg.export(preset, tmp_path / "n.onnx")
    assert not list(tmp_path.iterdir())


def test_wrong_use(tmp_path: Path, preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"register are exported\. Received: autoencoder-jsrt, a LabelAutoencoder"):
        acreg.export("autoencoder-jsrt", tmp_path / "n.onnx")
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AcregError, match=r"needs tf2onnx\. .*acreg\[export\]"):
        acreg.export(preset, tmp_path / "n.onnx")


def test_the_command(preset: Path, tmp_path: Path) -> None:
    runner: Callable[..., Any] = CliRunner().invoke
    done = runner(app, ["export", str(preset), "--out", str(tmp_path / "n.onnx")])
    assert done.exit_code == 0 and re.search(r"n\.onnx: 0\.\d\d MB, at most \S+e-0\d voxels from Keras", done.output)
