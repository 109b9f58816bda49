"""Recipes of JRS-Net: pairs of known deformation, adversaries that resume, pictures, the warning of a collapse."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from acreg.data.manifest import Dataset
from acreg.errors import AcregError, UsageError
from acreg.geometry import warp_array
from acreg.io import Image, write_image
from acreg.models import JRSNet
from acreg.training.callbacks import EPOCHS_LOST, LOST, WarnOfCollapse
from acreg.training.checkpoint import State
from acreg.training.data import build_sampler, build_validation, load_data
from acreg.training.pictures import draw_pairs, png
from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe
from studies.jrsnet import segmenter
from tests.training.runs import arrays_of, metrics_of

JOINT = [
    "autoencoder=null",
    "data.augmentation=null",
    "data.deformed={largest_dice: 0.8}",
    "model={class: JRSNet, arguments: null}",
    "model.arguments={filters: 4, blocks: 1, discriminator_filters: 2, pretraining_steps: 2, losses: {ssim: 1, "
    "mask: 1, displacement_error: 1, adversarial: 0.1, cycle: 1}}",
    "optimizer={warmup_steps: 0, schedule: constant}",
    "training.steps=6",
    "training.steps_per_epoch=2",
    "training.batch_size=2",
]


@pytest.mark.usefixtures("eagerly")
def test_a_resumed_run_goes_on_with_generators_and_discriminators(recipe_file: Path, tmp_path: Path) -> None:
    def stop(text: str, done: int, total: int) -> None:
        if total == 6 and done == 3:
            raise KeyboardInterrupt

    run_recipe(load_recipe(recipe_file, JOINT), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(load_recipe(recipe_file, JOINT), tmp_path / "run", progress=stop)
    assert len(metrics_of(tmp_path / "run")) == 1
    run_recipe(load_recipe(recipe_file, JOINT), tmp_path / "run", resume=True)
    whole, resumed = metrics_of(tmp_path / "whole"), metrics_of(tmp_path / "run")
    assert {"discriminator", "adversarial", "cycle", "val_mask"} <= set(whole[0])
    assert len(whole) == len(resumed) == 3
    # threads add in any order: two unbroken runs differ by up to 2e-5; a run that lost its optimizers differs by 8e-2
    for one, other in zip(whole, resumed, strict=True):
        assert {k: float(v) for k, v in one.items()} == pytest.approx({k: float(v) for k, v in other.items()}, rel=1e-3)
    for name, value in arrays_of(tmp_path / "whole").items():
        # Adam turns the rounding of a gradient near 0 into a step: single weights differ by up to 3e-4, arrays do not.
        # A bias before a batch normalisation has no other gradient.
        if value.ndim < 2:
            continue
        apart = np.linalg.norm(value - arrays_of(tmp_path / "run")[name])
        assert apart <= 5e-3 * np.linalg.norm(value) + 1e-5 * np.size(value) ** 0.5, name
    assert "Validation pairs" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_validation_pairs_are_made_once_and_their_displacement_is_true(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, JOINT)
    data = load_data(recipe)
    one, two = (build_validation(recipe, data) for _ in range(2))
    assert one is not None and two is not None
    assert sum(len(one[i][0]["fixed"]) for i in range(len(one))) == recipe.data.validation_pairs
    trained = build_sampler(recipe, data).batch(0)
    for i in range(len(one)):
        pair = one[i][0]
        assert pair.keys() == trained.keys()
        for name, value in pair.items():
            np.testing.assert_array_equal(value, two[i][0][name])
        for fixed, moving, displacement in zip(pair["fixed"], pair["moving"], pair["displacement"], strict=True):
            at = np.moveaxis(displacement, -1, 0) + np.indices(displacement.shape[:2])
            inside = np.all([(axis > 1) & (axis < 14) for axis in at], axis=0)
            missed = np.abs(warp_array(moving[..., 0], displacement) - fixed[..., 0])[inside]
            assert missed.mean() < 0.5 * np.abs(moving - fixed)[inside].mean()


def test_labels_and_two_axes_are_needed(recipe_file: Path) -> None:
    with pytest.raises(UsageError, match="deformed pairs are of 2-D images"):
        load_recipe(recipe_file, [*JOINT, "data.shape=[16, 16, 16]"])
    with pytest.raises(UsageError, match="set synthetic or deformed, not both"):
        load_recipe(recipe_file, [*JOINT, "data.synthetic={max_rotation: 5}"])
    recipe = load_recipe(recipe_file, JOINT)
    data = load_data(recipe)
    object.__setattr__(data.train, "labels", None)
    with pytest.raises(AcregError, match="judged by its labels. Received: a dataset without labels"):
        build_sampler(recipe, data)


def test_a_subject_without_foreground_is_named_and_no_run_begins(
    discs: Path, recipe_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(discs, tmp_path / "discs")
    dataset = Dataset.load(tmp_path / "discs")
    record = dataset.split("train")[1]
    labels = dataset.read_labels(record)
    assert record.labels is not None
    write_image(Image(np.zeros_like(labels.array), labels.grid, "labels"), record.labels)
    recipe = load_recipe(recipe_file, [*JOINT, f"data.dataset={tmp_path / 'discs'}"])
    with pytest.raises(AcregError, match=f"the labels of {record.subject} .* 0 voxels of foreground"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_picture_has_a_row_a_pair_and_a_column_an_image() -> None:
    rng = np.random.default_rng(0)
    model = JRSNet(filters=4, blocks=1, losses={"ssim": 1}, direct=True)
    batch = {name: rng.random((2, 16, 20, 1), np.float32) for name in ("moving", "fixed")}
    picture = draw_pairs(model, batch)
    times = 128 // 16
    assert picture.shape == (2 * (16 * times + 4), 6 * (20 * times + 4))
    block = picture[2 : 2 + 16 * times : times, 2 : 2 + 20 * times : times]
    np.testing.assert_allclose(block / 255, batch["moving"][0, ..., 0], atol=0.003)
    volumes = {name: np.zeros((1, 6, 16, 20, 1), np.float32) for name in ("moving", "fixed")}
    volumes["fixed"][0, 3] = 1
    shown = draw_pairs(JRSNet(rank=3, filters=4, blocks=1, losses={"ssim": 1}), volumes)
    assert shown[10, 20 * times + 10] == 255 and shown[10, 10] == 0
    (opened := Picture.open(io.BytesIO(png(picture)))).load()
    np.testing.assert_array_equal(np.asarray(opened), picture)


def test_the_segmenter_finds_discs_that_it_has_not_seen(discs: Path) -> None:
    dataset = Dataset.load(discs)
    model, preprocessing = segmenter.train(dataset, (16, 16), epochs=40, seed=0)
    dice = segmenter.score(model, preprocessing, dataset, "validation")
    assert list(dice) == [record.subject for record in dataset.split("validation")]
    assert np.mean(list(dice.values())) > 0.85


def test_lost_adversaries_are_said_once_each_time() -> None:
    state, said = State(), []
    callback = WarnOfCollapse(state, said.append)
    low, high = {"discriminator": LOST / 2}, {"discriminator": 0.6}
    for row in [high, *[low] * (EPOCHS_LOST + 3), high, *[low] * EPOCHS_LOST]:
        state.history.append(row)
        callback.on_epoch_end(len(state.history) - 1)
    assert len(said) == 2 and "guides the generator no more" in said[0]
    for _ in range(2 * EPOCHS_LOST):  # a training without adversaries
        state.history.append({"loss": 0.0})
        callback.on_epoch_end(len(state.history) - 1)
    assert len(said) == 2
