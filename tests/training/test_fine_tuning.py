"""Trainings that start from other weights, in one step or two, and DDMR's schedule."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

import acreg
from acreg.cli.main import main
from acreg.errors import AcregError, UsageError
from acreg.training import checkpoint
from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe
from acreg.training.run_folder import check_run_folder
from tests.training.runs import metrics_of

DDMR = [
    "autoencoder=null",
    "model={class: DDMR, arguments: null}",
    "model.arguments={encoder: [4, 4], decoder: [4, 4], head: [3], losses: {ncc: 1, diffusion: 0.1}}",
    "optimizer={warmup_steps: 0, schedule: constant, learning_rate: 1e-3}",
]


def weights_of(preset: Path) -> dict[str, np.ndarray]:
    layers = acreg.from_preset(preset).network.layers
    return {layer.name: keras.ops.convert_to_numpy(layer.kernel) for layer in layers if layer.weights}


def variables_of(run: Path) -> dict[str, np.ndarray]:
    found = checkpoint.load_checkpoint(run / "checkpoints", "network")
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def ddmr_recipe(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe with DDMR for a model, without its overrides."""
    path = tmp_path_factory.mktemp("ddmr") / "ddmr.yaml"
    path.write_text(load_recipe(recipe_file, DDMR).to_yaml(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def start(ddmr_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset of a short training."""
    return run_recipe(load_recipe(ddmr_recipe, ["training.steps=6"]), tmp_path_factory.mktemp("start") / "run")


def test_the_command_starts_from_a_preset_and_freezes(ddmr_recipe: Path, start: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", str(ddmr_recipe), "training.steps=6", "--out", str(run)]
    assert main([*command, "--from", str(start), "--freeze", "encoder", "--freeze", "head"]) == 0
    given, found = weights_of(start), weights_of(run / "preset")
    assert {name for name in given if (given[name] != found[name]).any()} == {"decoder1", "decoder2"}
    assert load_recipe(run / "recipe.yaml").start.freeze == ["encoder", "head"]


@pytest.mark.slow
def test_two_steps_killed_and_resumed_equal_an_unbroken_run(
    ddmr_recipe: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with what else must be resumed: accumulated gradients, and a learning rate that fell."""
    changes = [
        f"start={{from: {start}, freeze: [encoder], freeze_steps: 4}}",
        "training={steps: 12, steps_per_epoch: 4}",
    ]
    changes += ["optimizer.schedule=plateau", "optimizer.plateau_patience=1", "optimizer.gradient_accumulation_steps=3"]
    # Nothing folds at first, and 0 cannot be bettered: only the first epoch is a better one.
    changes += ["training.monitor=val_folded_percent", "training.mode=min"]
    recipe = load_recipe(ddmr_recipe, changes)
    unbroken, run = tmp_path / "unbroken", tmp_path / "run"
    run_recipe(recipe, unbroken)
    assert [float(row["learning_rate"]) for row in metrics_of(unbroken)] == pytest.approx([1e-3, 1e-3, 1e-4])

    savez, encoders = np.savez, {}
    for epoch in (2, 3):  # goes on from the end of the first step, then from within the second

        def full(path: Path, killed: int = epoch, **arrays: np.ndarray) -> None:
            if json.loads(arrays["state"].tobytes())["epoch"] == killed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            savez(path, **arrays)

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(AcregError, match=f"network-00000{epoch}.npz: No space left"):
            run_recipe(recipe, run, resume=epoch > 2)
        encoders[epoch - 1] = variables_of(run)["model/0000"]
    monkeypatch.setattr(np, "savez", savez)
    run_recipe(recipe, run, resume=True)
    first, second = variables_of(unbroken), variables_of(run)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    assert metrics_of(unbroken) == metrics_of(run)
    given = weights_of(start)["encoder1"]
    assert [(encoders[epoch] == given).all() for epoch in (1, 2)] == [True, False]


def test_a_start_that_does_not_fit_leaves_no_run(ddmr_recipe: Path, start: Path, tmp_path: Path) -> None:
    changes = [f"start.from={start}", "model.arguments.head=[5]"]
    with pytest.raises(AcregError, match=r"head1/kernel \(3, 3, 8, 3\) instead of \(3, 3, 8, 5\)"):
        run_recipe(load_recipe(ddmr_recipe, changes), tmp_path / "run")
    with pytest.raises(UsageError, match=r"section start .*one of \['encoder', 'decoder', 'head'\].*'encode'"):
        run_recipe(load_recipe(ddmr_recipe, [f"start={{from: {start}, freeze: [encode]}}"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_plateau_needs_a_validation(ddmr_recipe: Path) -> None:
    with pytest.raises(UsageError, match="plateau needs a validation split"):
        load_recipe(ddmr_recipe, ["optimizer.schedule=plateau", "data.validation_split=none"])


def test_an_older_runs_recipe_has_the_defaults_of_new_keys(ddmr_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(ddmr_recipe)
    lines = recipe.to_yaml().splitlines(keepends=True)
    (tmp_path / "recipe.yaml").write_text("".join(line for line in lines if "plateau" not in line), encoding="utf-8")
    check_run_folder(tmp_path, recipe, resume=True)
    (tmp_path / "recipe.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(AcregError, match="must be a recipe of this acreg. Received: .*recipe.yaml: .*legal YAML"):
        check_run_folder(tmp_path, recipe, resume=True)
