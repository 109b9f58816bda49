"""`acreg recipe`: what it prints and writes, and that a training runs with it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from acreg.cli.main import main
from acreg.data.manifest import Dataset, Record
from acreg.geometry import Grid
from acreg.io import Image, Preprocessing, write_image
from acreg.models import DDMR
from acreg.training import load_recipe, shipped_recipes


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six volumes with one ball each, of which two are for validation."""
    import numpy as np

    folder = tmp_path_factory.mktemp("volumes")
    rng, records = np.random.default_rng(0), []
    grid = Grid((14, 16, 12), spacing=(2.0, 1.0, 1.0))
    for number in range(6):
        centre = rng.uniform(5, 8, 3)[:, None, None, None]
        ball = ((np.indices(grid.shape) - centre) ** 2).sum(axis=0) < 16
        image, labels = folder / f"{number}.nii.gz", folder / f"{number}_labels.nii.gz"
        write_image(Image((ball + 0.1 * rng.random(grid.shape)).astype(np.float32), grid), image)
        write_image(Image(ball.astype(np.int32), grid, kind="labels"), labels)
        records.append(Record(str(number), image, labels, "train" if number < 4 else "validation"))
    Dataset(folder=folder, name="balls", records=records, label_names={0: "background", 1: "ball"}).save()
    return folder


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset of a small network with a model card that is about other data."""
    folder = tmp_path_factory.mktemp("presets") / "parent"
    grid = Preprocessing(shape=(16, 16, 16), spacing=(2.0, 2.0, 2.0), label_values=[0, 1], label_names={1: "liver"})
    losses = {"ncc": 1.0, "soft_dice": 1.0, "diffusion": 0.1}
    model = DDMR(encoder=(2, 4), decoder=(4, 2), head=(2,), num_classes=2, losses=losses, preprocessing=grid)
    card = """# parent: registration network

## Recipe
```yaml
name: parent
description: DDMR on livers.
data: {dataset: livers, shape: [16, 16, 16], augmentation: {gamma: 0.2}}
model: {class: DDMR, arguments: {losses: {ncc: 1, soft_dice: 1, diffusion: 0.1}}}
start: {from: runs/liver-start/preset}
training: {steps: 2, batch_size: 2}
```
"""
    model.save_preset(folder, card)
    return folder


def test_list_names_each_shipped_recipe_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(shipped_recipes())
    at = lines.index("ddmr-mni152: 3-D, DDMR, dataset mni152")
    assert lines[at + 1] == f"    {load_recipe('ddmr-mni152').description}"


def test_show_prints_a_recipe_that_is_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "ddmr-mni152", "training.steps=200"]) == 0
    path = tmp_path / "shown.yaml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_recipe(path) == load_recipe("ddmr-mni152", ["training.steps=200"])


def test_a_preset_is_fine_tuned_by_what_new_writes_as_it_is(
    volumes: Path, preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = tmp_path / "balls.yaml", tmp_path / "run"
    new = ["recipe", "new", "--from", str(preset), "--data", str(volumes), "--out", str(recipe)]
    assert main(new) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{recipe}\n"
    assert f"Next: acreg train {recipe}" in printed.err
    assert main(new) == 2
    assert "A new recipe replaces no file" in capsys.readouterr().err

    assert main(["train", str(recipe), "--out", str(run)]) == 0
    assert f"network: starts from {preset}" in capsys.readouterr().err
    card = (run / "preset" / "model_card.md").read_text(encoding="utf-8")
    assert card.startswith("# balls: registration network, trained on balls\n\nDDMR on balls, starting from the preset")
    assert f"Weights at the start: those of {preset}" in card
    assert "- Labels: 0 background, 1 ball\n" in card
    report = (run / "report.html").read_text(encoding="utf-8")
    for text in (card, report, (run / "recipe.yaml").read_text(encoding="utf-8")):
        assert "liver" not in text, "what a run says is of its own data"


def test_what_extends_a_shipped_recipe_has_its_own_name_and_no_description(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: ddmr-hippocampus\ndata: {dataset: mine}\n", encoding="utf-8")
    found = load_recipe(path)
    assert (found.name, found.description, found.data.dataset) == ("mine", "", "mine")
    assert found.model == load_recipe("ddmr-hippocampus").model


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "acregnet-jsrtt"], "Did you mean acregnet-jsrt?"),
        (["new", "--from", "regnet-jsrt", "--data", "phantoms", "--out", "mine.txt"], "ends in .yaml or .yml"),
        (["new", "--from", "regnet-jsrtt", "--data", "{data}", "--out", "mine.yaml"], "Did you mean regnet-jsrt?"),
    ],
)
def test_wrong_use_is_one_paragraph(
    words: list[str], message: str, volumes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipe", *(word.format(data=volumes) for word in words)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
