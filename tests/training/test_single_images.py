"""Recipes whose pairs are made of single images."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import acreg
from acreg.data.manifest import Dataset, Record
from acreg.errors import UsageError
from acreg.geometry import Grid
from acreg.inference import preset_folder
from acreg.io import Image, write_image
from acreg.layers import ThinPlateSplineAugmentation
from acreg.models import DDMR
from acreg.training.data import MadePairs, build_sampler, build_validation, load_data
from acreg.training.recipe import changed_keys, load_recipe
from acreg.training.run import run_recipe
from acreg.training.schema import SyntheticSection
from studies.ddmr import transfer as study
from tests.training.runs import arrays_of, metrics_of

MADE = [
    "autoencoder=null",
    "data.augmentation=null",
    "data.synthetic={max_translation: 2, max_deformation: 1, control_points: 4}",
    "model={class: DDMR, arguments: null}",
    "model.arguments={encoder: [4, 8], decoder: [8, 4], head: [4], losses: {ncc: 1, soft_dice: 1}}",
    "optimizer={warmup_steps: 0, schedule: constant}",
    "training.steps=9",
    "training.steps_per_epoch=3",
]


@pytest.fixture(scope="module")
def whole(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("single") / "run"
    run_recipe(load_recipe(recipe_file, MADE), run)
    return run


def test_a_resumed_run_makes_the_pairs_of_an_unbroken_one(whole: Path, recipe_file: Path, tmp_path: Path) -> None:
    def stop(text: str, done: int, total: int) -> None:
        if total == 9 and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(load_recipe(recipe_file, MADE), tmp_path / "run", progress=stop)
    assert len(metrics_of(tmp_path / "run")) == 1
    run_recipe(load_recipe(recipe_file, MADE), tmp_path / "run", resume=True)
    assert metrics_of(whole) == metrics_of(tmp_path / "run")
    for name, value in arrays_of(whole).items():
        np.testing.assert_array_equal(value, arrays_of(tmp_path / "run")[name], err_msg=name)


def test_validation_pairs_are_made_once(whole: Path, recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, MADE)
    data = load_data(recipe)
    one, two = (build_validation(recipe, data) for _ in range(2))
    assert isinstance(one, MadePairs) and isinstance(two, MadePairs)
    assert sum(len(one[i][0]["fixed"]) for i in range(len(one))) == recipe.data.validation_pairs
    for i in range(len(one)):
        for name, value in one[i][0].items():
            np.testing.assert_array_equal(value, two[i][0][name])
    assert np.abs(one[0][0]["fixed"] - one[0][0]["moving"]).max() > 0.2
    model = acreg.from_preset(whole / "preset")
    model.compile()
    best = max(float(row["val_dice"]) for row in metrics_of(whole))
    assert model.evaluate(one, return_dict=True, verbose=0)["dice"] == pytest.approx(best, abs=1e-6)


def test_spacings_are_those_of_the_networks_grid(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, [*MADE, "data.spacing=[1.5, 2.5]"])
    batch = build_sampler(recipe, load_data(recipe)).batch(0)
    np.testing.assert_array_equal(batch["spacing"], np.tile(np.float32([1.5, 2.5]), (4, 1)))


def test_a_mix_trains_on_both_and_validates_on_real_pairs(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, [*MADE, "data.synthetic.real_pairs=1", "training.steps=3"])
    data = load_data(recipe)
    batch = build_sampler(recipe, data).batch(0)
    assert (len(batch["image"]), len(batch["moving"])) == (3, 1)
    assert not isinstance(build_validation(recipe, data), MadePairs)
    run_recipe(recipe, tmp_path / "run")
    assert np.isfinite(float(metrics_of(tmp_path / "run")[0]["val_dice"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "data.augmentation={noise: 0.1}",
            "augmentation is of real pairs: leave it out, or .* synthetic.real_pairs",
        ),
        ("data.moving_augmentation={shear: 0.1}", "moving_augmentation is of real pairs"),
        ("data.synthetic.real_pairs=4", r"real_pairs \(4\) must be fewer than training.batch_size \(4\)"),
        ("data.synthetic.max_angle=4", "Received: data.synthetic.max_angle on the command line. Did you mean"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(recipe_file: Path, change: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(recipe_file, [*MADE, change])


def test_a_limit_that_the_layer_refuses_is_a_mistake_in_the_recipe(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, [*MADE, "data.synthetic.control_points=99"])
    with pytest.raises(UsageError, match="`control_points` must be a whole number from 3 to 12"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fewer_subjects_are_the_first_of_all(recipe_file: Path) -> None:
    every, few = (load_data(load_recipe(recipe_file, [*MADE, f"data.train_subjects={n}"])) for n in (8, 3))
    assert few.train.subjects == every.train.subjects[:3] and len(every.train.subjects) == 8
    np.testing.assert_array_equal(few.train.images, every.train.images[:3])
    assert few.train.labels is not None and every.train.labels is not None
    np.testing.assert_array_equal(few.train.labels, every.train.labels[:3])
    assert few.validation is not None and few.validation.subjects == every.validation.subjects
    with pytest.raises(UsageError, match="at most the number of subjects for training. Received: 9 of 8"):
        load_data(load_recipe(recipe_file, [*MADE, "data.train_subjects=9"]))


def test_the_transfer_study_differs_in_its_start_alone() -> None:
    scratch, direct, two_step = (
        load_recipe(study.RECIPE, study.overrides(way, 16, "ixi", "here", 2000)).resolved()
        for way in ("scratch", "direct", "two-step")
    )
    assert scratch["start"] is None and scratch["data"]["train_subjects"] == 16
    assert changed_keys(scratch, direct) == ["name", "optimizer.learning_rate", "start"]
    assert direct["start"] == {"from": "ixi", "freeze": [], "freeze_steps": None}
    assert two_step["start"] == {"from": "ixi", "freeze": ["encoder"], "freeze_steps": 600}
    pretraining = load_recipe("uw-nsd-ixi")
    for part in ("encoder", "decoder", "head"):
        assert scratch["model"]["arguments"][part] == pretraining.model.arguments[part]


@pytest.fixture
def pretrained(tmp_path: Path) -> str:
    """What the study reads of a preset of the IXI recipes."""
    shipped, folder = preset_folder("ddmr-hippocampus"), tmp_path / "ixi"
    folder.mkdir()
    (folder / "preprocessing.json").write_bytes((shipped / "preprocessing.json").read_bytes())
    content = json.loads((shipped / "config.json").read_text(encoding="utf-8"))
    widths = load_recipe("uw-nsd-ixi").model.arguments
    content["config"] |= {name: widths[name] for name in ("encoder", "decoder", "head")}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("steps", "per_epoch", "frozen"), [(10, 1, 3), (200, 20, 60), (2000, 200, 600), (2200, 200, 600)]
)
def test_a_transfer_study_of_any_length_is_made_of_recipes_that_work(
    steps: int, per_epoch: int, frozen: int, recipe_file: Path, pretrained: str
) -> None:
    data = str(load_recipe(recipe_file).data.dataset)
    found = study.recipes([3, 2], pretrained, data, steps)
    assert [recipe.name for recipe in found] == [f"{way}-{count}" for count in (2, 3) for way in study.WAYS]
    assert {(recipe.training.steps, recipe.training.steps_per_epoch) for recipe in found} == {(steps, per_epoch)}
    assert [recipe.start and recipe.start.freeze_steps for recipe in found] == [None, None, frozen] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "9"}, "Received: steps=9. Give a multiple of 10"),
        ({"steps": "2010"}, "Received: steps=2010"),
        ({"subjects": "900"}, r"Received: \[900\]\. Give"),
        ({"pretrained": "ixi"}, "Received: 'ixi', which is neither"),
        ({"pretrained": "ddmr-hippocampus"}, r"Received: ddmr-hippocampus, with \{'encoder': \[16, 32, 64, 64\]"),
    ],
)
def test_a_transfer_study_that_cannot_work_trains_nothing(
    change: dict[str, str], message: str, recipe_file: Path, pretrained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "run_recipe", lambda *args, **kwargs: pytest.fail("trained"))
    data = str(load_recipe(recipe_file).data.dataset)
    given = {"pretrained": pretrained, "data": data, "subjects": "8", "steps": "20", "out": "runs", **change}
    with pytest.raises(UsageError, match=message):
        study.main([word for name, value in given.items() for word in (f"--{name}", value)])


PAPER = {"uw-nsd-ixi-paper": 407, "uw-nsd-ct-paper": 41}
"""Training subjects: an epoch has as many draws."""


@pytest.mark.parametrize("name", PAPER)
def test_ddmr_in_the_papers_size_has_its_network_and_settings(name: str) -> None:
    recipe = load_recipe(name)
    arguments = recipe.model.arguments
    given = inspect.signature(DDMR).parameters  # test_laws counts the weights of these widths: 84.9 million
    for part in ("encoder", "decoder", "head"):
        assert tuple(arguments[part]) == given[part].default
    assert arguments["losses"] == {"ncc": 1, "ssim": 1, "soft_dice": 1, "diffusion": 5e-3}
    assert arguments["weighting"] == "softmax" and recipe.data.shape == (128, 128, 128)
    optimizer, training, synthetic = recipe.optimizer, recipe.training, recipe.data.synthetic
    assert (optimizer.name, optimizer.learning_rate, optimizer.gradient_accumulation_steps) == ("adam", 1e-3, 8)
    assert (optimizer.schedule, optimizer.plateau_factor, optimizer.plateau_patience) == ("plateau", 0.1, 10)
    assert (training.batch_size, training.steps_per_epoch, training.epochs) == (1, PAPER[name], 100_000)
    assert synthetic is not None and synthetic.layer_arguments() == SyntheticSection().layer_arguments()


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four volumes of 20 x 16 x 12 voxels of 6 mm, each with a ball in a ball: labels 2 and 1."""
    folder, records = tmp_path_factory.mktemp("balls"), []
    rng, grid = np.random.default_rng(0), Grid((20, 16, 12), (6.0, 6.0, 6.0))
    for number, split in enumerate(("train", "train", "train", "validation")):
        centre = np.multiply(grid.shape, 0.5) + rng.uniform(-1, 1, 3)
        radius = np.sqrt(((np.moveaxis(np.indices(grid.shape), 0, -1) - centre) ** 2).sum(axis=-1))
        labels = (radius < 5).astype(int) + (radius < 2.5)
        record = Record(str(number), folder / f"{number}.nii.gz", folder / f"{number}_labels.nii.gz", split)
        write_image(Image(labels * 100 + rng.normal(0, 5, grid.shape), grid), record.image)
        write_image(Image(labels, grid, "labels"), folder / f"{number}_labels.nii.gz")
        records.append(record)
    Dataset(folder, "balls", records, {0: "background", 1: "liver", 2: "vessels"}).save()
    return folder


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", PAPER)
def test_ddmr_in_the_papers_size_makes_steps_in_a_smaller_one(name: str, balls: Path, tmp_path: Path) -> None:
    few = "model.arguments={encoder: [4, 4, 4, 4, 4, 4], decoder: [4, 4, 4, 4, 4, 4], head: [4, 4]}"
    changes = [f"data.dataset={balls}", "data.shape=[16, 16, 16]", few, "training.steps=2", "data.validation_pairs=1"]
    run_recipe(load_recipe(name, changes), tmp_path / "run")
    row = metrics_of(tmp_path / "run")[-1]
    weights = {loss: float(row[f"weight_{loss}"]) for loss in ("ncc", "ssim", "soft_dice", "diffusion")}
    assert weights == pytest.approx({"ncc": 1 / 3, "ssim": 1 / 3, "soft_dice": 1 / 3, "diffusion": 5e-3}, rel=1e-4)
    assert np.isfinite(float(row["val_loss"]))


def test_made_pairs_have_the_layers_limits_where_the_recipe_names_none() -> None:
    defaults = ThinPlateSplineAugmentation().get_config()
    assert SyntheticSection().layer_arguments().items() <= defaults.items()
