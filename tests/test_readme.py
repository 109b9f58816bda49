"""The README's commands and programs do what it says: all of them are run, trainings with fewer steps."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from acreg.cli.main import main
from acreg.data.phantoms.chests import make_dataset
from acreg.geometry import Displacement, Grid, Transform
from acreg.io import Image, read_image, read_labels, write_displacement

FEWER_STEPS = ["training.steps=2", "training.steps_per_epoch=2", "training.batch_size=2", "optimizer.warmup_steps=0"]
FEWER_STEPS += ["autoencoder.steps=2", "autoencoder.steps_per_epoch=2", "autoencoder.batch_size=2"]
FEWER_STEPS += ["data.validation_pairs=2"]


def _text(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def _programs(repository: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", _text(repository), re.M | re.S)


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README speaks of."""
    make_dataset(tmp_path / "my_dataset", subjects=20)
    for subject, name in (("phantom000", "a"), ("phantom001", "b")):
        shutil.copy(tmp_path / "my_dataset" / "images" / f"{subject}.png", tmp_path / f"{name}.png")
    shutil.copy(tmp_path / "my_dataset" / "labels" / "phantom001.png", tmp_path / "b_labels.png")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "a.png", tmp_path / "folder")
    shutil.copytree(tmp_path / "my_dataset", tmp_path / "data" / "jsrt")
    monkeypatch.setenv("ACREG_DATA", str(tmp_path / "data"))
    (tmp_path / "landmarks.csv").write_text("name,x,y\napex,60.5,40\nbase,70,90\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_commands(repository: Path, user_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        shlex.split(line, comments=True)[1:] for line in re.findall(r"^    (acreg .*)$", _text(repository), re.M)
    ]
    assert [command[0] for command in commands] == [
        "doctor", "register", "warp", "warp", "jacobian", "inspect", "segment", "quality",
        "data", "train", "evaluate", "compare", "recipe", "train", "evaluate", "convert",
    ]  # fmt: skip
    checkpoint = repository.parent / "shared" / "reference" / "acregnet_tf1" / "registration"
    for command in commands:
        if command[0] == "convert":
            if not checkpoint.is_dir():
                continue
            for file in checkpoint.iterdir():
                shutil.copy(file, user_folder)
        if command[0] == "train":
            command += FEWER_STEPS
        assert main(command) == 0, (command, capsys.readouterr().err)
    assert sorted(path.name for path in (user_folder / "result").iterdir()) == [
        "displacement.nii.gz", "inverse_transform.h5", "inverse_transform.h5.check.json", "preview.png",
        "result.json", "transform.h5", "transform.h5.check.json", "warped.png", "warped_labels.png",
    ]  # fmt: skip
    moved, warped = (read_labels(user_folder / name).array for name in ("moved.png", "result/warped_labels.png"))
    assert (moved != warped).mean() < 1e-3
    assert len((user_folder / "moved.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert read_image(user_folder / "determinant.nii.gz").array.shape == warped.shape
    assert (user_folder / "runs" / "mine" / "preset" / "model.weights.h5").is_file()
    assert (user_folder / "results" / "mine" / "report.html").is_file()
    assert len((user_folder / "quality" / "quality.csv").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.slow
def test_programs(repository: Path, user_folder: Path) -> None:
    programs = [program for program in _programs(repository) if "nibabel" not in program]
    assert len(programs) == 2
    arrays = "import tensorflow\ntensorflow.config.run_functions_eagerly(True)\n"  # see the fixture eagerly
    arrays += "import numpy as np\nimages = np.random.default_rng(0).random((4, 64, 64, 1), 'float32')\n"
    arrays += "labels = np.random.default_rng(1).integers(0, 4, (4, 64, 64, 1))\n"
    environment = os.environ | {"PYTHONPATH": str(repository), "PYTHONIOENCODING": "utf-8"}
    for program in programs:
        fewer = program.replace("batch_size=16", "batch_size=2").replace(
            "steps_per_epoch=100, epochs=10", "steps_per_epoch=2"
        )
        done = subprocess.run(
            [sys.executable, "-c", arrays + fewer], env=environment, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shape", [(20, 24), (10, 12, 14)], ids=["2-D", "3-D"])
def test_displacement_by_nibabel(repository: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    """What the README's lines give looks, in nibabel's order of axes, where the transform does."""
    rng = np.random.default_rng(0)
    grid = Grid(shape, tuple(np.linspace(0.5, 2, len(shape))))
    field = ndimage.gaussian_filter(rng.normal(size=(*shape, len(shape))), (2,) * len(shape) + (0,)) * 20
    image = Image(1000 * ndimage.gaussian_filter(rng.random(shape), 1), grid)
    (tmp_path / "result").mkdir()
    write_displacement(field, grid, tmp_path / "result" / "displacement.nii.gz")
    (program,) = (program for program in _programs(repository) if "nibabel" in program)
    save = "import numpy\nnumpy.save('u.npy', u)\n"
    done = subprocess.run([sys.executable, "-c", program + save], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    u = np.load(tmp_path / "u.npy").reshape(*shape[::-1], len(shape))
    places = np.indices(shape[::-1]) + np.moveaxis(u, -1, 0)
    looked_up = ndimage.map_coordinates(image.array.T, places, order=1, mode="nearest")
    warped = Transform(grid, grid, (Displacement(field, grid),)).warp_image(image, border="edge").array
    assert np.abs(warped - image.array).mean() > 10 and np.abs(looked_up.T - warped).mean() < 0.01
