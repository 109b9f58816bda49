"""`acreg train`: what it prints, its exit codes, and its messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from acreg.cli.main import main
from acreg.data.phantoms.chests import make_dataset

SMALL = ["data.shape=[16,16]", "model.arguments.network=unet", "training.steps=4", "training.batch_size=2"]
SMALL += ["optimizer.warmup_steps=0", "model.arguments.filters=[4,8]"]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten prepared phantoms."""
    folder = tmp_path_factory.mktemp("phantoms")
    make_dataset(folder, subjects=10, shape=(64, 64))
    return folder


@pytest.mark.usefixtures("eagerly")
def test_trains_a_shipped_recipe_with_overrides(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["train", "acregnet-phantoms", *SMALL, "autoencoder.steps=2", "data.validation_pairs=2"]
    assert main([*arguments, "--data", str(phantoms), "--out", str(run)]) == 0
    printed = capsys.readouterr()
    assert str(run / "preset") in printed.out
    assert "autoencoder: epoch 1/1" in printed.err
    assert "network: epoch 1/1" in printed.err
    assert (run / "preset" / "config.json").is_file()
    assert main([*arguments, "--data", str(phantoms), "--out", str(run)]) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.usefixtures("eagerly")
def test_quiet_prints_the_result_alone(phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "regnet-phantoms", *SMALL, "data.validation_pairs=2", "--data", str(phantoms)]
    assert main(["--quiet", *arguments, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert "epoch" not in printed.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["acregnet-jsrtt"], 2, "Did you mean acregnet-jsrt?"),
        (["acregnet-jsrt", "training.step=3"], 2, "Did you mean training.steps?"),
        (["missing.yaml"], 2, "A recipe is a YAML file that exists"),
        (["regnet-jsrt", "--data", "nowhere"], 1, "'nowhere'"),
    ],
)
def test_wrong_use_is_one_paragraph(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", *arguments, "--out", str(run)]) == code
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "Traceback" not in error
    assert not run.exists()
