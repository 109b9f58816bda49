"""What the recipe of the joint affine and deformable network adds: landmarks, moved moving images, a rate in steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import acreg
from acreg.errors import UsageError
from acreg.io import Image
from acreg.models import AffineDeformableNet
from acreg.training import build
from acreg.training.data import build_sampler, load_data
from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe
from acreg.training.schema import OptimizerSection
from tests.training.runs import arrays_of, metrics_of

CHANGES = [
    "autoencoder=null",
    "model={class: RegNet, arguments: null}",
    "model.arguments.filters=[4]",
    "model.arguments.losses={ncc: 1, cross_entropy: 1}",
    "data.intensity=histogram",
    "data.moving_augmentation={rotation: 0.3, scale: 0.1, shear: 0.1, shift: 0.1}",
    "optimizer={schedule: step, step_epochs: 1, floor: 4e-4, warmup_steps: 0}",
    "training={steps: 9, steps_per_epoch: 3}",
]


def test_a_resumed_run_equals_an_unbroken_one(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, CHANGES)

    def stop(text: str, done: int, total: int) -> None:
        if text.startswith("network") and total == 9 and done == 5:
            raise KeyboardInterrupt

    run_recipe(recipe, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "run", progress=stop)
    assert len(metrics_of(tmp_path / "run")) == 1
    run_recipe(recipe, tmp_path / "run", resume=True)
    assert metrics_of(tmp_path / "unbroken") == metrics_of(tmp_path / "run")
    for name, value in arrays_of(tmp_path / "unbroken").items():
        np.testing.assert_array_equal(value, arrays_of(tmp_path / "run")[name], err_msg=name)
    rates = [float(row["learning_rate"]) for row in metrics_of(tmp_path / "run")]
    assert rates == pytest.approx([5e-4, 4e-4, 4e-4])  # at the end of an epoch: of the next step

    learned = acreg.from_preset(tmp_path / "run" / "preset").preprocessing
    assert learned == load_data(recipe).preprocessing and learned.landmarks[4] > 0
    image = Image.from_array(np.random.default_rng(0).gamma(2.0, 40.0, (24, 24)))
    assert learned.apply(image).max() == 1  # of one image, without those of training


def test_landmarks_are_those_of_the_training_subjects(recipe_file: Path) -> None:
    def landmarks(*changes: str) -> list[float]:
        return load_data(load_recipe(recipe_file, [*CHANGES, *changes])).preprocessing.landmarks

    all_of_them, two = landmarks(), landmarks("data.train_subjects=2")
    assert all_of_them != two
    assert landmarks("data.train_splits=[train, validation]") not in (all_of_them, two)
    assert landmarks("data.validation_split=none") == all_of_them
    data = load_data(load_recipe(recipe_file, [*CHANGES, "data.train_subjects=2"]))
    images = [data.dataset.read_image(record) for record in data.dataset.split("train")[:2]]
    assert data.preprocessing.with_landmarks(images).landmarks == two
    assert landmarks("data.intensity=percentiles") is None


def test_moving_augmentation_moves_the_moving_images_alone(recipe_file: Path) -> None:
    recipe, still = (
        load_recipe(recipe_file, CHANGES),
        load_recipe(recipe_file, [*CHANGES, "data.moving_augmentation=null"]),
    )
    data = load_data(recipe)
    one, other = build_sampler(recipe, data).batch(4), build_sampler(still, data).batch(4)
    for name in ("fixed", "fixed_labels"):
        np.testing.assert_array_equal(one[name], other[name])
    assert (one["moving"] != other["moving"]).any() and (one["moving_labels"] != other["moving_labels"]).any()


def test_the_rate_falls_after_whole_epochs_down_to_the_floor() -> None:
    section = OptimizerSection(learning_rate=1e-4, schedule="step", floor=2e-5)
    rate = build.build_optimizer(section, 100 * 7, 7)._learning_rate
    found = [float(rate(step)) for step in range(0, 700)]
    expected = [max(1e-4 * 0.5 ** (step // 7 // 10), 2e-5) for step in range(0, 700)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    short = build.build_optimizer(section, 70, 7)
    assert float(short.learning_rate) == pytest.approx(1e-4), "too short for a fall"
    paper = OptimizerSection(learning_rate=1e-4, schedule="step")
    assert (paper.step_epochs, paper.step_factor, paper.floor) == (10, 0.5, 1e-6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.warmup_steps=2", "warmup_steps must be 0 with schedule step, not 2"),
        ("optimizer.floor=0.1", r"floor \(0.1\) must be at most learning_rate \(0.001\)"),
        ("data.moving_augmentation.shear=2", r"data\.moving_augmentation\.shear=2.*less than or equal to 1"),
        ("data.intensity=histo", "intensity"),
    ],
)
def test_a_wrong_value_is_refused_by_name(recipe_file: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(recipe_file, [*CHANGES, override])


@pytest.mark.parametrize(
    ("name", "affine", "losses"),
    [
        ("no-affine", False, {"local_ncc", "soft_dice", "diffusion"}),
        ("no-anatomy", True, {"affine_squared_ncc", "local_ncc", "diffusion"}),
    ],
)
def test_an_ablation_lacks_what_its_name_says(repository: Path, name: str, affine: bool, losses: set[str]) -> None:
    recipe = load_recipe(repository / f"acreg/experiments/affine_deformable/affine-deformable-brain-{name}.yaml")
    model = AffineDeformableNet(**{**recipe.model.arguments, "num_classes": 4, "labels_per_step": None})
    assert any(layer.name == "affine_parameters" for layer in model.network.layers) == affine
    assert {loss for loss, weight in model.loss_weights.items() if weight} == losses
