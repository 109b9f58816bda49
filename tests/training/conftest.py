"""A tiny dataset, and a recipe for it that trains in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acreg.data.manifest import Dataset, Record
from acreg.geometry import Grid
from acreg.io import Image, write_image

RECIPE = """
seed: 3
data:
  dataset: {dataset}
  shape: [16, 16]
  validation_pairs: 6
  augmentation: {{gamma: 0.2, shift: 0.05}}
autoencoder: {{steps: 8, steps_per_epoch: 4, batch_size: 4, code_size: 4}}
model:
  class: ACRegNet
  arguments: {{filters: [4, 8], dropout: 0.5}}
optimizer: {{learning_rate: 1e-3, schedule: cosine, warmup_steps: 3}}
training: {{steps: 24, steps_per_epoch: 6, batch_size: 4}}
"""


def write_discs(folder: Path, subjects: int = 12, shape: tuple[int, int] = (24, 24)) -> Path:
    """A prepared dataset of images with one disc each, at random places and of random sizes."""
    rng = np.random.default_rng(0)
    places = np.indices(shape)
    records = []
    for number in range(subjects):
        centre, radius = rng.uniform(9, 15, 2), rng.uniform(4, 7)
        disc = ((places - centre[:, None, None]) ** 2).sum(axis=0) < radius**2
        image = (60 + 120 * disc + rng.normal(0, 8, shape)).clip(0, 255).astype(np.float32)
        name = f"disc{number:02d}"
        record = Record(
            name,
            folder / "images" / f"{name}.png",
            folder / "labels" / f"{name}.png",
            ("train", "train", "validation")[number % 3],
        )
        write_image(Image(image, Grid(shape)), record.image)
        write_image(Image(disc.astype(np.int32), Grid(shape), kind="labels"), folder / "labels" / f"{name}.png")
        records.append(record)
    Dataset(folder=folder, name="discs", records=records, label_names={0: "background", 1: "disc"}).save()
    return folder


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a prepared dataset of 12 discs, 8 of them for training."""
    return write_discs(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="session")
def recipe_file(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with two stages, dropout and augmentation on the discs."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE.format(dataset=discs), encoding="utf-8")
    return path
