"""What a recipe trains on, where the dataset is small."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from acreg.data import chest_phantom
from acreg.data.datasets.folder import prepare_folder
from acreg.errors import AcregError
from acreg.io import Image, write_image
from acreg.training import load_recipe
from acreg.training.data import TrainingData, build_sampler, load_data
from acreg.training.run import workers


def test_four_images_train_without_validation_and_else_the_remedy_is_named(tmp_path: Path) -> None:
    for seed in range(4):
        write_image(Image.from_array(chest_phantom(seed, (32, 32)).image), tmp_path / f"{seed}.png")
    prepare_folder(tmp_path)
    changes = [f"data.dataset={tmp_path}", "data.shape=[32,32]"]
    with pytest.raises(AcregError, match="Received: 1 in the split validation of .*data.validation_split=none"):
        load_data(load_recipe("regnet-phantoms", changes))
    splits = "data.train_splits=[train,validation,test]"
    data = load_data(load_recipe("regnet-phantoms", [*changes, splits, "data.validation_split=none"]))
    assert data.train.images.shape == (4, 32, 32, 1) and np.ptp(data.train.images) == 1
    assert data.validation is None and data.num_classes is None


def test_subjects_beyond_the_memory_are_read_from_a_folder_that_trainings_share(discs: Path, tmp_path: Path) -> None:
    def load(*changes: str) -> TrainingData:
        given = [f"data.dataset={discs}", "data.shape=[16,16]", f"data.cache={tmp_path / 'shared'}", *changes]
        return load_data(load_recipe("acregnet-phantoms", given), cache=tmp_path / "own")

    whole = load()
    assert not list(tmp_path.iterdir())
    for number, memory in enumerate((4e-6, 0.0)):
        part = load(f"data.memory={memory}", f"seed={number}")
        assert part.digest == whole.digest and part.pairs
        for one, other in ((part.train, whole.train), (part.validation, whole.validation)):
            assert one is not None and other is not None and one.labels is not None and other.labels is not None
            np.testing.assert_array_equal(one.images[:], other.images[:])
            np.testing.assert_array_equal(one.labels[:], other.labels[:])
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]
    assert len(list((tmp_path / "shared").iterdir())) == 2  # for training and for validation


@pytest.mark.parametrize(
    "changes", [["data.augmentation_in=model"], ["data.augmentation=null", "data.synthetic={max_deformation: 5}"]]
)
def test_batches_that_the_model_changes_travel_as_they_are_stored(discs: Path, changes: list[str]) -> None:
    given = [f"data.dataset={discs}", "data.shape=[16,16]", "training.batch_size=2", *changes]
    recipe = load_recipe("acregnet-phantoms", given)
    batch = build_sampler(recipe, load_data(recipe)).batch(0)
    images = {name: x.dtype.name for name, x in batch.items() if name in ("image", "moving", "fixed")}
    labels = {name: x.dtype.name for name, x in batch.items() if "labels" in name}
    assert set(images.values()) == {"uint16"} and set(labels.values()) == {"uint8"}
    recipe = load_recipe("acregnet-phantoms", [*given[:3], "data.augmentation={gamma: 0.1}"])
    assert {x.dtype.name for x in build_sampler(recipe, load_data(recipe)).batch(0).values()} == {"float32", "int32"}


def test_workers_are_half_of_the_cores_and_never_more_than_these(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, usual, three in ((1, 1, 1), (2, 1, 2), (6, 3, 3), (64, 8, 3)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert workers(load_recipe("acregnet-phantoms").data) == usual
        assert workers(load_recipe("acregnet-phantoms", ["data.workers=3"]).data) == three
