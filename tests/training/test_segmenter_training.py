"""Recipes of segmenters: single images with labels, which resume like pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe
from tests.training.runs import metrics_of

RECIPE = [
    "autoencoder=null",
    "model={class: Segmenter, arguments: null}",
    "model.arguments={filters: [4, 8]}",
    "data.augmentation={gamma: 0.2, rotation: 0.1}",
    "optimizer={warmup_steps: 0, schedule: constant}",
    "training={batch_size: 2, steps: 6, steps_per_epoch: 2}",
]


def test_a_recipe_trains_one_and_goes_on_after_a_stop(recipe_file: Path, tmp_path: Path) -> None:
    def stop(text: str, done: int, total: int) -> None:
        if total == 6 and done == 3:
            raise KeyboardInterrupt

    preset = run_recipe(load_recipe(recipe_file, RECIPE), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(load_recipe(recipe_file, RECIPE), tmp_path / "run", progress=stop)
    run_recipe(load_recipe(recipe_file, RECIPE), tmp_path / "run", resume=True)
    rows = metrics_of(tmp_path / "whole")
    assert "val_dice" in rows[-1] and len(rows) == 3
    assert [list(row) for row in metrics_of(tmp_path / "run")] == [list(row) for row in rows]
    for mine, other in zip(metrics_of(tmp_path / "run"), rows, strict=True):
        for name, value in mine.items():
            assert float(value) == pytest.approx(float(other[name]), rel=1e-4, abs=1e-6)
    assert "segmenter" in (preset / "model_card.md").read_text(encoding="utf-8").lower()
    assert (tmp_path / "whole" / "report.html").is_file()
