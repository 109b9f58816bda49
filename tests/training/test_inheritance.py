"""What a recipe takes over from the preset that its training starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from acreg.errors import UsageError
from acreg.io import Preprocessing
from acreg.models import ACRegNet, LabelAutoencoder, RegNet
from acreg.training.recipe import load_recipe

LOSSES = {"ncc": 1.0, "diffusion": 0.3}
GRID = Preprocessing(shape=(16, 32), spacing=(2.0, 1.5), trim=False, window=(0.0, 9.0))


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset of a small RegNet whose every setting differs from its default."""
    folder = tmp_path_factory.mktemp("presets") / "small"
    model = RegNet(network="unet", filters=(4, 6), dropout=0.25, integration_steps=3, losses=LOSSES, preprocessing=GRID)
    model.save_preset(folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that says nothing about its network and its grid."""
    path = tmp_path / "mine.yaml"
    path.write_text("data: {dataset: mine}\ntraining: {steps: 10}\n", encoding="utf-8")
    return path


def test_class_arguments_grid_and_preprocessing_are_those_of_the_preset(preset: Path, recipe: Path) -> None:
    found = load_recipe(recipe, [f"start.from={preset}"])
    assert found.model.class_name == "RegNet"
    arguments = found.model.arguments
    assert (arguments["network"], arguments["filters"], arguments["dropout"]) == ("unet", [4, 6], 0.25)
    assert (arguments["integration_steps"], arguments["losses"]) == (3, LOSSES)
    assert not {"rank", "channels", "num_classes"} & set(arguments), "these follow from the data"
    data = found.data
    assert (data.shape, data.spacing, data.trim, data.window) == ((16, 32), (2.0, 1.5), False, (0.0, 9.0))
    assert (data.dataset, found.training.steps) == ("mine", 10)


def test_what_the_recipe_or_the_command_line_says_stays(preset: Path, recipe: Path) -> None:
    recipe.write_text(
        "data: {dataset: mine, shape: [32, 32], spacing: null}\ntraining: {steps: 10}\n"
        f"start: {{from: {preset}}}\nmodel: {{arguments: {{losses: {{ncc: 1}}}}}}\n",
        encoding="utf-8",
    )
    found = load_recipe(recipe, ["model.arguments.dropout=0.5", "data.intensity=percentiles"])
    assert (found.data.shape, found.data.spacing, found.data.trim) == ((32, 32), None, False)
    assert (found.data.intensity, found.data.window) == ("percentiles", None), "a window goes with its own scaling"
    assert found.model.arguments["losses"] == {"ncc": 1}, "replaced as a whole"
    assert (found.model.arguments["dropout"], found.model.arguments["filters"]) == (0.5, [4, 6])


def test_an_override_of_one_loss_changes_that_of_the_preset(preset: Path, recipe: Path) -> None:
    found = load_recipe(recipe, [f"start.from={preset}", "model.arguments.losses.diffusion=1"])
    assert found.model.arguments["losses"] == {"ncc": 1.0, "diffusion": 1}


def test_another_class_takes_over_the_arguments_that_it_has(preset: Path, recipe: Path) -> None:
    found = load_recipe(recipe, [f"start.from={preset}", "model.class=DDMR"])
    assert found.model.arguments == {"integration_steps": 3, "weighting": "fixed"}


def test_without_a_start_nothing_is_taken_over(preset: Path, recipe: Path) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + f"start: {{from: {preset}}}\n", encoding="utf-8")
    assert load_recipe(recipe).data.shape == (16, 32)
    found = load_recipe(recipe, ["start=null"])
    assert (found.start, found.data.shape, found.model.arguments) == (None, (64, 64), {})


def test_the_recipe_of_a_run_needs_its_start_no_more(preset: Path, recipe: Path, tmp_path: Path) -> None:
    found = load_recipe(recipe, [f"start.from={preset}"])
    stored = tmp_path / "recipe.yaml"
    stored.write_text(found.to_yaml().replace(str(preset), str(tmp_path / "gone")), encoding="utf-8")
    again = load_recipe(stored)
    assert (again.model, again.data) == (found.model, found.data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.shape=[16,16,16]"], r"data\.shape of 3 numbers, and the preset .* for images with 2 axes\. Leave"),
        (["data.spacing=[1,1,1]"], r"data\.spacing of 3 numbers, and the preset"),
        (["start.from=smal"], r"A preset is a folder, .*Received: 'smal'"),
        (["model.arguments.rank=3"], r"Leave it out\. The rank is the number of sizes in data\.shape"),
    ],
)
def test_a_contradiction_is_one_paragraph(preset: Path, recipe: Path, changes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(recipe, [f"start.from={preset}", *changes])


def test_presets_that_cannot_be_a_start_by_themselves(recipe: Path, tmp_path: Path) -> None:
    grid = Preprocessing(shape=(16, 16), label_values=[0, 1])
    autoencoder = LabelAutoencoder(shape=(16, 16), num_classes=2, code_size=4, preprocessing=grid)
    autoencoder.save_preset(tmp_path / "autoencoder")
    with pytest.raises(UsageError, match=r"starts from a registration model or a segmenter\. .*a LabelAutoencoder"):
        load_recipe(recipe, [f"start.from={tmp_path / 'autoencoder'}"])
    losses = {"ncc": 1.0, "anatomical_prior": 0.1}
    model = ACRegNet(
        num_classes=2, autoencoder=autoencoder, filters=(4, 8), network="unet", losses=losses, preprocessing=grid
    )
    model.save_preset(tmp_path / "model")
    changes = [f"start.from={tmp_path / 'model'}"]
    with pytest.raises(UsageError, match=r"anatomical_prior among them, and no autoencoder\. Add the section"):
        load_recipe(recipe, changes)
    assert load_recipe(recipe, [*changes, "autoencoder={steps: 2}"]).model.arguments["losses"] == losses
    found = load_recipe(recipe, [*changes, "model.arguments.losses.anatomical_prior=null"])
    assert found.model.arguments["losses"] == {"ncc": 1.0}
