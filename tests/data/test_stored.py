"""A split is preprocessed once, and its memory is bounded."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acreg.data.manifest import Dataset, Preprocessed
from acreg.data.records import Record
from acreg.data.sampling.pairs import PairSampler
from acreg.data.stored import StoredSplit, store
from acreg.geometry import Grid
from acreg.io import Image, Preprocessing, write_image

SHAPE = (20, 24)


def dataset_of(folder: Path, subjects: int = 5, labelled: bool = True) -> Dataset:
    rng = np.random.default_rng(0)
    records = []
    for number in range(subjects):
        labels = folder / f"{number}_labels.png" if labelled else None
        record = Record(f"s{number}", folder / f"{number}.png", labels, "train")
        write_image(Image(rng.integers(0, 256, SHAPE).astype(np.float32), Grid(SHAPE)), record.image)
        if record.labels is not None:
            drawn = rng.integers(0, 3, SHAPE).astype(np.int32)
            write_image(Image(drawn, Grid(SHAPE), kind="labels"), record.labels)
        records.append(record)
    return Dataset(folder, "made", records, {0: "background", 1: "a", 2: "b"}, spacing=(2.0, 3.0))


def settings(dataset: Dataset) -> Preprocessing:
    return Preprocessing(shape=(16, 12), label_values=dataset.label_values)


def stored(dataset: Dataset, held: int, folder: Path) -> StoredSplit:
    return store(dataset, dataset.records, settings(dataset), held, folder, "Reading")


@pytest.mark.parametrize("labelled", [True, False])
def test_subjects_are_the_same_in_memory_in_files_and_as_they_were_read(tmp_path: Path, labelled: bool) -> None:
    dataset = dataset_of(tmp_path, labelled=labelled)
    exact = dataset.load_arrays("train", settings(dataset))
    for held in (5, 3, 0):
        split = stored(dataset, held, tmp_path / "cache")
        assert (tmp_path / "cache").exists() == (held < 5)
        assert split.subjects == exact.subjects and split.digest == stored(dataset, 5, tmp_path).digest
        assert np.abs(split.images[:] - exact.images).max() < 0.51 / 65535
        np.testing.assert_array_equal(split.images[:], stored(dataset, 5, tmp_path).images[:])
        np.testing.assert_array_equal(split.spacings, exact.spacings)
        if split.labels is None:
            assert exact.labels is None
        else:
            np.testing.assert_array_equal(split.labels[:], exact.labels)


def test_files_are_used_again_until_an_image_or_a_setting_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, cache = dataset_of(tmp_path), tmp_path / "cache"
    first = stored(dataset, 0, cache)
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "read_labelled", None)  # nothing is read
        assert stored(dataset, 2, cache).digest == first.digest
    os.utime(dataset.records[1].image, ns=(0, 0))
    assert stored(dataset, 0, cache).digest == first.digest
    store(dataset, dataset.records[:3], settings(dataset), 0, cache, "Reading")
    other = Preprocessing(shape=(16, 12), intensity="percentiles", label_values=dataset.label_values)
    assert store(dataset, dataset.records, other, 0, cache, "Reading").digest != first.digest
    assert len(list(cache.iterdir())) == 4


def test_another_file_of_the_same_name_size_and_time_is_another_image(tmp_path: Path) -> None:
    """As of two contrasts that were unpacked from one archive."""
    dataset, cache = dataset_of(tmp_path, labelled=False), tmp_path / "cache"
    paths = [tmp_path / contrast / "a.tif" for contrast in ("t1", "t2")]
    for value, path in enumerate(paths):
        write_image(Image(np.arange(480, dtype=np.float32).reshape(SHAPE) % (100 + value), Grid(SHAPE)), path)
        os.utime(path, ns=(0, 0))
    assert paths[0].stat().st_size == paths[1].stat().st_size
    found = [
        store(dataset, [replace(dataset.records[0], image=path)], settings(dataset), 0, cache, "Reading")
        for path in paths
    ]
    assert found[0].digest != found[1].digest


def test_a_full_disk_leaves_no_files_and_the_next_call_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, cache = dataset_of(tmp_path), tmp_path / "cache"

    def fill(*_: object) -> Iterator[Preprocessed]:
        yield next(Dataset.preprocessed(dataset, dataset.records, settings(dataset)))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    full = replace(dataset)
    object.__setattr__(full, "preprocessed", fill)
    with pytest.raises(OSError, match="No space"):
        stored(full, 0, cache)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert stored(dataset, 0, cache).subjects == [f"s{number}" for number in range(5)]


def test_memory_follows_the_number_of_held_subjects_and_not_that_of_the_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 subjects of 32^3: 66 MB as float32 and int32, 20 MB as they are stored."""
    shape, one = (32, 32, 32), np.random.default_rng(0).random((32, 32, 32, 1), np.float32)
    record = dataset_of(tmp_path, 1).records[0]
    records = [replace(record, subject=str(number)) for number in range(200)]
    dataset = Dataset(tmp_path, "made", records, {0: "background"})

    def made(self: Dataset, records: Sequence[Record], preprocessing: Preprocessing) -> Iterator[Preprocessed]:
        return ((one, (one > 0.5).astype(np.int32), (1.0, 1.0, 1.0)) for _ in records)

    monkeypatch.setattr(Dataset, "preprocessed", made)
    tracemalloc.start()
    try:
        preprocessing = Preprocessing(shape=shape, label_values=[0, 1])
        split = store(dataset, dataset.records, preprocessing, 20, tmp_path / "cache", "Reading")
        sampler = PairSampler(split.images, split.labels, batch_size=1, seed=0)
        for step in range(100):
            sampler.batch(step)
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    voxels = 32**3
    assert 20 * 3 * voxels < held < 21 * 3 * voxels
    assert most < held + 2 * 16 * voxels  # a pair with labels while it is made
