"""The recipes with the settings of the papers take a training step, on small data and grids."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from keras.ops import convert_to_numpy

from acreg.data.manifest import Dataset
from acreg.data.phantoms.hearts import make_heart_dataset
from acreg.data.sampling.velocities import velocity_path, write_velocity
from acreg.training import build
from acreg.training.data import build_sampler, load_data
from acreg.training.recipe import load_recipe

SHAPE = (8, 32, 32)
CHESTS = ["training.batch_size=2"]
HEARTS = [f"data.shape={list(SHAPE)}", "training.batch_size=2"]
LIGHT = ["filters=4", "blocks=1", "discriminator_filters=4", "pretraining_steps=0"]
"""Its 16 blocks of 64 filters would take minutes."""
JOINT = ["data.shape=[32,32]", "data.deformed.largest_dice=1", "training.batch_size=1"]


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn hearts, with velocities of two pairs of them."""
    folder = tmp_path_factory.mktemp("paper") / "hearts"
    make_heart_dataset(folder, subjects=10, shape=SHAPE)
    rng = np.random.default_rng(0)
    for pair in permutations([record.subject for record in Dataset.load(folder).split("train")[:2]], 2):
        write_velocity(velocity_path(folder / "velocities", pair), rng.normal(size=(*SHAPE, 3)), {})
    return folder


@pytest.mark.filterwarnings("ignore:The perceptual loss is off")
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("acregnet-jsrt-paper", CHESTS),
        ("ae-regnet-montgomery-paper", CHESTS),
        ("ce-regnet-shenzhen-paper", CHESTS),
        ("regnet-jsrt-paper", CHESTS),
        ("jrsnet-paper-montgomery", [*JOINT, *(f"model.arguments.{change}" for change in LIGHT)]),
        ("svfnet-hearts-paper", HEARTS),
        ("svfnet-hippocampus-paper", HEARTS),
        ("affine-deformable-brain-paper", ["data.shape=[16,16,16]", "model.arguments.labels_per_step=4"]),
        *(
            (f"{network}-brain", ["data.shape=[16,16,16]", "optimizer.warmup_steps=0"])
            for network in ("voxelmorph", "symnet", "faim")
        ),
    ],
)
def test_it_takes_a_step(name: str, changes: list[str], discs: Path, hearts: Path) -> None:
    volumes = len(load_recipe(name).data.shape) == 3
    common = [f"data.dataset={hearts if volumes else discs}", "data.validation_pairs=1"]
    recipe = load_recipe(name, [*common, *changes])
    data, autoencoder = load_data(recipe), None
    if recipe.autoencoder is not None:
        autoencoder = build.build_autoencoder(recipe, recipe.autoencoder, data)
    model = build.build_network(recipe, data, autoencoder)
    model.run_eagerly = True  # one step takes less time than tracing it
    weights = model.network.trainable_variables
    before = [convert_to_numpy(weight).copy() for weight in weights]
    logs = model.train_on_batch(build_sampler(recipe, data).batch(0), return_dict=True)
    assert np.isfinite([float(value) for value in logs.values()]).all(), logs
    assert any((convert_to_numpy(new) != old).any() for new, old in zip(weights, before, strict=True))
