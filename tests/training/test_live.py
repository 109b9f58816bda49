"""A training in a notebook: its bar and its curves."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from acreg.progress import NotebookBars
from acreg.training import LivePlot, load_recipe, run_recipe
from acreg.training.live import LiveCurves
from tests.kernel import Outputs

NETWORK_ONLY = ["autoencoder=null", "model.arguments.losses={ncc: 1, cross_entropy: 1}"]


def fit(epochs: int) -> None:
    """Train a line with the callback."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    x = np.linspace(0, 1, 8)[:, None]
    pairs = {"x": x, "y": 2 * x, "validation_data": (x, 2 * x)}
    model.fit(**pairs, batch_size=4, epochs=epochs, verbose=0, callbacks=[LivePlot("line")])


def test_keras_own_fit_shows_a_bar_and_curves(kernel: Outputs, capsys: pytest.CaptureFixture[str]) -> None:
    fit(epochs=3)
    assert len(kernel.shown) == 1 and kernel.messages >= 2
    (found,) = kernel.shown.values()
    assert found["text/plain"].startswith("line: 6/6, 0:00:0") and ", loss " in found["text/plain"]
    page = found["text/html"]
    assert "<progress value='6' max='6'></progress>" in page and "training is blue, validation orange" in page
    assert page.count('<img src="data:image/png;base64,') == 1 and len(page) > 5000
    assert capsys.readouterr().out == ""


def test_without_a_notebook_each_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    fit(epochs=2)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("line: epoch 1/2, loss ") and second.startswith("line: epoch 2/2, loss ")
    assert "val_loss" in second


def test_curves_take_a_small_share_of_the_time(kernel: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("acreg.training.live.time.monotonic", lambda: now)
    drawn: list[float] = []
    bars, history = NotebookBars(), [{"epoch": 1.0, "step": 1.0, "loss": 1.0}]
    curves = LiveCurves(bars, history)

    def show() -> None:
        nonlocal now
        drawn.append(now)

    def draw(*what: object) -> str:
        nonlocal now
        now += 1  # a second
        return ""

    monkeypatch.setattr(bars, "show", show)
    monkeypatch.setattr("acreg.training.live.picture", draw)
    for epoch in range(60):
        now += 1
        curves.on_epoch_end(epoch)
    assert drawn == [2, 23, 44]
    curves.on_train_end()
    assert len(drawn) == 4, "the last state is drawn"


def test_a_recipe_shows_its_stages_and_messages(kernel: Outputs, recipe_file: Path, tmp_path: Path) -> None:
    changes = [*NETWORK_ONLY, "training.steps=4", "training.steps_per_epoch=2"]
    run_recipe(load_recipe(recipe_file, changes), tmp_path / "run")
    assert len(kernel.shown) == 1
    (found,) = kernel.shown.values()
    lines = found["text/plain"].splitlines()
    assert lines[0].startswith("Reading train: ") and any(line.startswith("network: 4/4, ") for line in lines)
    assert '<img src="data:image/png;base64,' in found["text/html"]
