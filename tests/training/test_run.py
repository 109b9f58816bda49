from __future__ import annotations

import errno
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import acreg
from acreg.errors import AcregError, UsageError
from acreg.training import build, checkpoint
from acreg.training import run as train
from acreg.training.callbacks import ShowProgress
from acreg.training.data import ValidationPairs, load_data
from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe
from acreg.training.run_folder import check_run_folder
from tests.training.runs import arrays_of, metrics_of

NETWORK_ONLY = ["autoencoder=null", "model.arguments.losses={ncc: 1, cross_entropy: 1}"]


def assert_same_run(one: Path, other: Path) -> None:
    """Bitwise equal weights, optimiser and seed generators, equal metrics, equal presets."""
    for stage, file in (("network", "metrics.csv"), ("autoencoder", "autoencoder_metrics.csv")):
        first, second = arrays_of(one, stage), arrays_of(other, stage)
        assert first.keys() == second.keys()
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name], err_msg=f"{stage} {name}")
        assert metrics_of(one, file) == metrics_of(other, file)
    for first, second in zip(acreg.from_preset(one / "preset").weights, acreg.from_preset(other / "preset").weights):
        np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="session")
def unbroken(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run of the recipe on discs."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    run_recipe(load_recipe(recipe_file), run)
    return run


def test_a_run_leaves_what_the_design_lists(unbroken: Path, recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert load_recipe(unbroken / "recipe.yaml") == recipe
    environment = json.loads((unbroken / "environment.json").read_text(encoding="utf-8"))
    assert environment["seed"] == 3
    assert environment["packages"]["keras"] == keras.__version__
    assert [row["step"] for row in metrics_of(unbroken)] == ["6", "12", "18", "24"]
    assert [row["epoch"] for row in metrics_of(unbroken, "autoencoder_metrics.csv")] == ["1", "2"]
    logged = {"loss", "val_loss", "val_dice", "ncc", "cross_entropy", "anatomical_prior", "folded_percent"}
    assert logged <= set(metrics_of(unbroken)[0])
    kept = sorted(path.name for path in (unbroken / "checkpoints").iterdir())
    assert kept == [f"{stage}-{n:06d}.npz" for stage, ns in (("autoencoder", (1, 2)), ("network", (3, 4))) for n in ns]
    report = (unbroken / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png;base64,") == 3  # curves of both stages, and pairs
    assert not re.search(r'(src|href)="(?!data:)', report)
    assert len(report) < 1_000_000


def test_preset_holds_the_best_epoch_and_a_card(unbroken: Path, recipe_file: Path) -> None:
    model = acreg.from_preset(unbroken / "preset")
    data = load_data(load_recipe(recipe_file))
    model.compile()
    scores = model.evaluate(ValidationPairs(data.validation, data.pairs, 4), return_dict=True, verbose=0)
    best = max(float(row["val_dice"]) for row in metrics_of(unbroken))
    assert scores["dice"] == pytest.approx(best, abs=1e-6)
    card = (unbroken / "preset" / "model_card.md").read_text(encoding="utf-8")
    for part in ("Licence of the data", "Training subjects: 8 (train)", "Seed 3", "val_dice", "## Limits", "steps: 24"):
        assert part in card
    assert f", trained on {data.dataset.name}\n" in card
    report = (unbroken / "report.html").read_text(encoding="utf-8")
    assert f"Trained on {data.dataset.name} ({data.dataset.folder}): 8 subjects" in report


def test_the_seed_decides_the_weights_and_the_callers_generator_is_left_alone(recipe_file: Path) -> None:
    recipes = [load_recipe(recipe_file, [*NETWORK_ONLY, f"seed={seed}"]) for seed in (3, 3, 4)]
    data = load_data(recipes[0])
    random.seed(99)
    one, same, other = (build.build_network(recipe, data, None).get_weights()[0] for recipe in recipes)
    assert random.random() == random.Random(99).random()
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_pipeline_without_tensorflow_gives_the_same_batches(
    unbroken: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(train.keras.backend, "backend", lambda: "another")
    run_recipe(load_recipe(recipe_file), tmp_path / "run", say=lines.append)
    monkeypatch.undo()
    # Its batches have no static shape, so that TensorFlow may sum in another order: equal up to rounding.
    for row, other in zip(metrics_of(unbroken), metrics_of(tmp_path / "run"), strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3)
        assert float(row["dice"]) == pytest.approx(float(other["dice"]), rel=1e-3)
    assert sum(line.startswith("network: epoch ") for line in lines) == 4


SIGNALLED = """
import os, sys
import tensorflow
tensorflow.config.run_functions_eagerly(True)  # see the fixture eagerly
from acreg.cli.main import main
from acreg.training.callbacks import ShowProgress
signal, stage, epoch, batch, *arguments = sys.argv[1:]
go_on = ShowProgress.on_train_batch_end
def die(self, done, logs=None):
    if (self.stage, self.epoch, done) == (stage, int(epoch), int(batch)):
        os.kill(os.getpid(), int(signal))
    go_on(self, done, logs)
ShowProgress.on_train_batch_end = die
sys.exit(main(arguments))
"""


@pytest.mark.slow
def test_stopped_by_signals_and_resumed_equals_unbroken(recipe_file: Path, tmp_path: Path, repository: Path) -> None:
    run, unbroken = tmp_path / "run", tmp_path / "unbroken"

    def start(folder: Path, number: int = 0, *when: str) -> tuple[int, str]:
        """Exit code and messages of the same command each time, which gets a signal at (stage, epoch, step)."""
        program = [sys.executable, "-c", SIGNALLED, str(int(number)), *(when or ("nothing", "0", "0"))]
        program += ["train", str(recipe_file), "--out", str(folder), "--resume"]
        environment = {k: v for k, v in os.environ.items() if k != "TF_DETERMINISTIC_OPS"}  # the command's own setting
        done = subprocess.run(program, cwd=repository, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert start(unbroken)[0] == 0
    code, said = start(run, signal.SIGTERM, "autoencoder", "0", "3")  # at the last step of its first epoch
    assert (code, said.splitlines()[-1].partition(".")[0]) == (75, "autoencoder: stopped as asked after epoch 1")
    assert start(run, signal.SIGKILL, "autoencoder", "1", "2")[0] == -signal.SIGKILL  # in the middle of its second
    code, said = start(run, signal.SIGTERM, "network", "2", "3")
    assert (code, said.splitlines()[-1].partition(",")[0]) == (75, "network: stopped as asked in epoch 3")
    assert "--resume" in said and "Error" not in said
    assert not any(path.name.startswith(".") for path in run.rglob("*"))
    assert not (run / "report.html").exists()
    assert start(run)[0] == 0
    assert_same_run(unbroken, run)
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    assert len(environment["resumed"]) == 3


def test_a_trace_is_written_when_asked_for(unbroken: Path, recipe_file: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    recipe = load_recipe(recipe_file, [*NETWORK_ONLY, "training={steps: 12, steps_per_epoch: 12}"])
    run_recipe(recipe, tmp_path / "run", say=lines.append, profile=True)
    (trace,) = (tmp_path / "run" / "tensorboard").rglob("*.xplane.pb")
    assert trace.parts[-5:-2] == ("train", "plugins", "profile")
    assert trace.read_bytes().count(b"Profiled batch") >= 1
    (line,) = (line for line in lines if "traced" in line)
    assert line.startswith("Steps 11 to 12 are traced")
    assert ("pip install xprof" in line) == (importlib.util.find_spec("xprof") is None)
    assert not list((unbroken / "tensorboard").rglob("*.xplane.pb"))


def test_a_full_disk_at_a_checkpoint_is_one_message_and_the_run_goes_on_exactly(
    unbroken: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where subjects are read from files, by another number of workers after it was resumed."""
    recipe = load_recipe(recipe_file, ["data.memory=4e-6", "data.workers=2"])  # 4 of 12 subjects in memory
    run = tmp_path / "run"
    savez = np.savez

    def full(path: Path, **arrays: np.ndarray) -> None:
        if json.loads(arrays["state"].tobytes())["epoch"] == 3:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        savez(path, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(AcregError, match=r"network-000003\.npz: No space left.*older checkpoints are intact.*--resume"):
        run_recipe(recipe, run)
    monkeypatch.undo()
    files = sorted(path.name for path in (run / "checkpoints").glob("*"))
    assert files[-2:] == ["network-000001.npz", "network-000002.npz"]
    assert sum(path.stat().st_size for path in (run / "cache").rglob("*.npy")) == 12 * 3 * 16**2 + 4 * 128
    lines: list[str] = []
    recipe = load_recipe(recipe_file, ["data.memory=0", "data.workers=1"])
    run_recipe(recipe, run, resume=True, say=lines.append)
    assert_same_run(unbroken, run)
    assert not (run / "cache").exists()
    assert any(line.startswith("autoencoder: complete") for line in lines)
    assert "network: goes on after epoch 2 of 4" in lines


def test_trained_weights_of_losses_are_recorded_and_kept(recipe_file: Path, tmp_path: Path) -> None:
    changes = ["model.arguments.weighting=uncertainty", "training.steps=6"]
    recipe = load_recipe(recipe_file, [*NETWORK_ONLY, *changes])
    preset = run_recipe(recipe, tmp_path / "run")
    (row,) = metrics_of(tmp_path / "run")
    resumed = build.build_network(recipe, load_data(recipe), None)
    checkpoint.restore(resumed, arrays_of(tmp_path / "run"))
    for model in (acreg.from_preset(preset), resumed):
        weights = model.loss_weighting.loss_weights()
        assert list(weights) == ["ncc", "cross_entropy"]
        for name, weight in weights.items():
            assert float(row[f"val_weight_{name}"]) == float(weight) != 1.0
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<td>weight_ncc</td>" in report and "val_weight_ncc" not in report


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_resumed_with_its_loss_scale(recipe_file: Path, tmp_path: Path, policy: str) -> None:
    changes = [*NETWORK_ONLY, f"training.mixed_precision={policy}", "training.steps=12"]
    recipe, whole, resumed = load_recipe(recipe_file, changes), tmp_path / "whole", tmp_path / "resumed"
    model = build.build_network(recipe, load_data(recipe), None)
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    run_recipe(recipe, whole)
    shutil.copytree(whole, resumed)
    (resumed / "checkpoints" / "network-000002.npz").unlink()
    if scaled:  # the checkpoint to go on from has another state than a new optimiser
        checkpoint.restore(model, arrays_of(resumed))
        now = float(model.optimizer.dynamic_scale), int(model.optimizer.step_counter)
        assert now != (2.0**15, 0) and now[0] >= 1.0
    run_recipe(recipe, resumed, resume=True)
    for name, value in arrays_of(whole).items():
        assert value.dtype != np.float16, name
        np.testing.assert_array_equal(value, arrays_of(resumed)[name], err_msg=name)


def test_weight_decay_leaves_the_weights_of_losses_alone(recipe_file: Path) -> None:
    """It would draw every logarithm towards 0, that is, every weight towards 1."""
    changes = ["model.arguments.weighting=softmax", "optimizer.name=adamw", "optimizer.weight_decay=0.5"]
    recipe = load_recipe(recipe_file, [*NETWORK_ONLY, *changes])
    model = build.build_network(recipe, load_data(recipe), None)
    decays = {v.path for v in model.trainable_variables if model.optimizer._use_weight_decay(v)}
    assert decays == {v.path for v in model.network.trainable_variables}


def test_resuming_a_finished_run_changes_nothing(unbroken: Path, recipe_file: Path) -> None:
    before = arrays_of(unbroken)
    preset = run_recipe(load_recipe(recipe_file), unbroken, resume=True)
    assert preset == unbroken / "preset"
    assert all(np.array_equal(value, before[name]) for name, value in arrays_of(unbroken).items())


def test_resume_with_another_recipe_names_the_changed_keys(unbroken: Path, recipe_file: Path) -> None:
    changed = load_recipe(recipe_file, ["training.batch_size=2", "model.arguments.dropout=0.1"])
    with pytest.raises(UsageError, match=r"other values of model\.arguments\.dropout, training\.batch_size\. "):
        run_recipe(changed, unbroken, resume=True)


def test_resume_with_other_data_is_refused(unbroken: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acreg.training.data._digest", lambda parts: "other")
    with pytest.raises(AcregError, match="resumed with the data that it began with"):
        run_recipe(load_recipe(recipe_file), unbroken, resume=True)


def test_a_folder_in_use_is_refused(unbroken: Path, recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"new or empty folder.*--resume"):
        run_recipe(load_recipe(recipe_file), unbroken)
    (tmp_path / ".0123456789ab.tmp.yaml").write_text("x")  # left by a kill: this folder is still a new one
    check_run_folder(tmp_path, load_recipe(recipe_file), resume=True)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match=r"has none and is no run"):
        run_recipe(load_recipe(recipe_file), tmp_path, resume=True)
    with pytest.raises(UsageError, match=r"output must be a folder"):
        run_recipe(load_recipe(recipe_file), tmp_path / "mine.txt")


def test_a_loss_that_is_not_finite_stops_at_once_and_keeps_the_checkpoint(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = load_recipe(recipe_file, NETWORK_ONLY), tmp_path / "run"
    go_on = ShowProgress.on_train_batch_end

    def spoil(self: ShowProgress, batch: int, logs: dict | None = None) -> None:
        if (self.epoch, batch) == (1, 1):
            weight = self.model.trainable_variables[0]
            weight.assign(weight * float("nan"))
        go_on(self, batch, logs)

    monkeypatch.setattr(ShowProgress, "on_train_batch_end", spoil)
    with pytest.raises(AcregError, match=r"Received: .*ncc=nan.* at step 9 of the network.*learning_rate"):
        run_recipe(recipe, run)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["network-000001.npz"]
    assert all(np.isfinite(value).all() for value in arrays_of(run).values())


def test_early_stopping_counts_across_epochs(recipe_file: Path, tmp_path: Path) -> None:
    # Nothing folds at first, and 0 cannot be bettered: the first epoch is the best, then two are not better.
    changes = ["training.early_stopping_patience=2", "training.monitor=val_folded_percent", "training.mode=min"]
    with pytest.raises(UsageError, match=r"monitor must be a number that is logged.*val_dise.*val_dice"):
        run_recipe(load_recipe(recipe_file, [*NETWORK_ONLY, "training.monitor=val_dise"]), tmp_path / "wrong")
    run_recipe(load_recipe(recipe_file, [*NETWORK_ONLY, *changes]), tmp_path / "run")
    assert len(metrics_of(tmp_path / "run")) == 3
    found = checkpoint.load_checkpoint(tmp_path / "run" / "checkpoints", "network")
    assert found is not None
    assert (found[0].best_epoch, found[0].waited, found[0].finished) == (1, 2, True)


def test_without_validation_the_last_weights_are_kept(recipe_file: Path, tmp_path: Path) -> None:
    changes = ["data.validation_split=none", "data.train_splits=[train, validation]", "training.steps=12"]
    preset = run_recipe(load_recipe(recipe_file, [*NETWORK_ONLY, *changes]), tmp_path / "run")
    assert "Training subjects: 12 (train, validation). Validation subjects: none." in (
        preset / "model_card.md"
    ).read_text(encoding="utf-8")
    found = checkpoint.load_checkpoint(tmp_path / "run" / "checkpoints", "network")
    assert found is not None
    assert found[0].best_epoch == 2


def test_a_given_autoencoder_is_used_and_checked(unbroken: Path, recipe_file: Path, tmp_path: Path) -> None:
    reuse = f"autoencoder={unbroken / 'autoencoder'}"
    run_recipe(load_recipe(recipe_file, [reuse, "training.steps=6"]), tmp_path / "run")
    assert not (tmp_path / "run" / "autoencoder").exists()
    given, used = (
        acreg.from_preset(unbroken / "autoencoder"),
        acreg.from_preset(tmp_path / "run" / "preset").autoencoder,
    )
    for first, second in zip(given.get_weights(), used.get_weights()):
        np.testing.assert_array_equal(first, second)
    with pytest.raises(UsageError, match=r"must have the recipe's grid .*\(24, 24\)"):
        run_recipe(load_recipe(recipe_file, [reuse, "data.shape=[24, 24]"]), tmp_path / "other")
    with pytest.raises(UsageError, match=r"must be the preset of a LabelAutoencoder.*ACRegNet"):
        run_recipe(load_recipe(recipe_file, [f"autoencoder={unbroken / 'preset'}"]), tmp_path / "wrong")


def test_what_the_model_refuses_is_a_mistake_in_the_recipe(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"section model must be accepted.*nccc"):
        run_recipe(load_recipe(recipe_file, [*NETWORK_ONLY, "model.arguments.losses.nccc=1"]), tmp_path / "a")
    with pytest.raises(UsageError, match=r"needs a trained `autoencoder`"):
        run_recipe(load_recipe(recipe_file, ["autoencoder=null"]), tmp_path / "b")
    with pytest.raises(UsageError, match=r"section model must be accepted.*rate"):
        run_recipe(load_recipe(recipe_file, ["model.arguments.dropout=3"]), tmp_path / "c")  # no autoencoder first
    assert not any(tmp_path.iterdir())


def test_optimizer_schedules() -> None:
    section = load_recipe("acregnet-jsrt-paper", ["optimizer.schedule=cosine", "optimizer.warmup_steps=10"]).optimizer
    rate = build.build_optimizer(section, 100, 10)._learning_rate
    assert [float(rate(step)) for step in (0, 5, 10, 100)] == pytest.approx([0, 5e-4, 1e-3, 1e-5], rel=1e-5)
    constant = section.model_copy(update={"schedule": "constant"})
    rate = build.build_optimizer(constant, 100, 10)._learning_rate
    assert [float(rate(step)) for step in (0, 5, 10, 100)] == pytest.approx([0, 5e-4, 1e-3, 1e-3], rel=1e-5)
    with pytest.raises(UsageError, match="warmup_steps must be fewer"):
        build.build_optimizer(section, 10, 10)
