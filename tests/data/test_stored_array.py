"""Subjects are read alike from memory and from a file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.pairs import PairSampler
from acreg.data.sampling.singles import ImageSampler
from acreg.data.stored_array import StoredArray, encode
from acreg.errors import AcregError


def stored(path: Path, images: bool, held: int, subjects: int = 9, shape: tuple[int, ...] = (6, 5, 4)) -> StoredArray:
    """Random subjects in a file, the first `held` of them also in memory."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 65536 if images else 7, (subjects, *shape, 1))
    np.save(path, values.astype(np.uint16 if images else np.uint8))
    return StoredArray.open(path, images, held)


@pytest.mark.parametrize("images", [True, False])
def test_every_index_gives_what_an_array_gives(tmp_path: Path, images: bool) -> None:
    array = stored(tmp_path / "x.npy", images, 4)
    whole = np.load(tmp_path / "x.npy")
    whole = (whole / np.float32(65535)).astype(np.float32) if images else whole.astype(np.int32)
    assert (array.shape, array.dtype, array.ndim, len(array)) == (whole.shape, whole.dtype, 5, 9)
    indices = [0, -1, 7, [8, 0, 3, 8], slice(2, 20, 3), slice(0, 0), np.array([5, 1]), np.arange(9) > 6]
    for index in (*indices, (4, ..., 0), (slice(7), slice(1, 3)), ([5, 1], ..., 2, 0)):
        np.testing.assert_array_equal(array[index], whole[index])
    np.testing.assert_array_equal(np.stack(list(array)), whole)
    np.testing.assert_array_equal(np.asarray(array), whole)
    with pytest.raises(IndexError):
        _ = array[9]


def test_what_8_and_16_bits_can_tell_apart_stays_as_it_is() -> None:
    for most in (255, 65535):
        values = (np.arange(most + 1) / np.float32(most)).astype(np.float32)[None, :, None, None]
        np.testing.assert_array_equal(StoredArray(encode(values), images=True)[:], values)
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.random(10**5, np.float32), [-1e-7, 1 + 1e-6]])[None, :, None, None]
    assert np.abs(StoredArray(encode(values), images=True)[:] - values).max() < 0.51 / 65535


def test_batches_are_the_same_in_memory_and_from_a_file_in_any_number_of_threads(tmp_path: Path) -> None:
    def sampler(held: int) -> PairSampler:
        images, labels = (stored(tmp_path / f"{kind}{held}.npy", kind, held) for kind in (True, False))
        return PairSampler(images, labels, batch_size=3, seed=5)

    expected = [sampler(9).batch(step) for step in range(40)]
    for held in (0, 4):
        with ThreadPoolExecutor(8) as pool:
            for batch, other in zip(pool.map(sampler(held).batch, range(40)), expected, strict=True):
                for name, value in other.items():
                    np.testing.assert_array_equal(batch[name], value)


@pytest.mark.parametrize("held", [9, 4, 0])
def test_small_batches_have_the_stored_numbers_of_the_decoded_ones(tmp_path: Path, held: int) -> None:
    images, labels = (stored(tmp_path / f"{kind}.npy", kind, held) for kind in (True, False))
    small = PairSampler(images.as_stored(), labels.as_stored(), batch_size=3, seed=5)
    for step in range(20):
        batch, decoded = small.batch(step), PairSampler(images, labels, batch_size=3, seed=5).batch(step)
        for name, value in decoded.items():
            if name.endswith("labels"):
                assert (batch[name].dtype, value.dtype) == (np.uint8, np.int32)
                np.testing.assert_array_equal(batch[name], value)
            else:
                assert (batch[name].dtype, value.dtype) == (np.uint16, np.float32)
                np.testing.assert_array_equal(batch[name].astype(np.float32) / np.float32(65535), value)


def test_images_as_they_are_stored_are_not_augmented_in_numpy(tmp_path: Path) -> None:
    images = stored(tmp_path / "x.npy", True, 9)
    PairSampler(images, None, 1, 0, Augmentation(gamma=0.1))
    for one, other in ((Augmentation(gamma=0.1), None), (None, Augmentation(scale=0.1))):
        with pytest.raises(AcregError, match=r"in \[0, 1\]. Received: images as they are stored, uint16. Give the"):
            PairSampler(images.as_stored(), None, 1, 0, one, other)
    with pytest.raises(AcregError, match="or augment in the model, by its image_augmentation"):
        ImageSampler(images.as_stored(), None, np.ones((9, 3)), 1, 0, augment=Augmentation(gamma=0.1))


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    array = stored(tmp_path / "x.npy", True, 0)
    os.truncate(tmp_path / "x.npy", (tmp_path / "x.npy").stat().st_size - 1)
    with pytest.raises(AcregError, match=r"complete\. Received: .*x\.npy, which is not\. Delete its folder"):
        StoredArray.open(tmp_path / "x.npy", True, 0)
    with pytest.raises(AcregError, match="which is not"):
        _ = array[8]
