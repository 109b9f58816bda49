import numpy as np
import pytest

from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.pairs import PairSampler, VelocitySampler, fixed_pairs
from acreg.data.sampling.singles import ImageSampler, LabelSampler
from acreg.errors import AcregError


def constant_subjects(count, shape=(4, 6)):
    """Images and labels whose every voxel is the subject's number."""
    numbers = np.arange(count).reshape(-1, *(1,) * (len(shape) + 1))
    labels = np.broadcast_to(numbers, (count, *shape, 1)).astype(np.int32)
    return labels.astype(np.float32), labels


@pytest.mark.parametrize("shape", [(4, 6), (3, 4, 5)])
def test_batch_has_the_named_arrays(shape):
    batch = PairSampler(*constant_subjects(5, shape), batch_size=3, seed=0).batch(0)
    assert set(batch) == {"moving", "fixed", "moving_labels", "fixed_labels"}
    for name, array in batch.items():
        assert array.shape == (3, *shape, 1)
        assert array.dtype == (np.int32 if name.endswith("labels") else np.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda labels: labels - 1, "0 or more.*from -1 to 3"),
        (lambda labels: labels.astype(np.int64) + 2**31, "from 2147483648 to 2147483652"),
        (lambda labels: labels.astype(np.float32), "must be integers"),
        (lambda labels: np.where(labels == 2, np.nan, labels), "must be integers"),
        (lambda labels: labels == 1, "must be integers"),
        (lambda labels: np.repeat(labels, 3, axis=-1), "one channel.*not one-hot"),
        (lambda labels: labels[:, :3], "same subjects and spatial shape"),
    ],
)
def test_arrays_that_are_no_label_numbers(change, reason):
    images, labels = constant_subjects(5)
    with pytest.raises(AcregError, match=reason):
        PairSampler(images, change(labels), batch_size=2, seed=0)
    if change(labels).shape == labels.shape or change(labels).shape[-1] > 1:
        with pytest.raises(AcregError, match=reason):
            LabelSampler(change(labels), batch_size=2, seed=0)


def test_labels_are_optional():
    images, _ = constant_subjects(5)
    assert set(PairSampler(images, None, batch_size=3, seed=0).batch(0)) == {"moving", "fixed"}


def test_batch_is_a_pure_function_of_seed_and_step():
    data = constant_subjects(9)
    augment = Augmentation(noise=0.1, rotation=0.2)
    sampler, other = (PairSampler(*data, 4, seed=7, augment=augment) for _ in range(2))
    for step in (3, 0, 11):
        other.batch(step)
    for step in (0, 1, 11):
        first, second = sampler.batch(step), other.batch(step)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
    assert not np.array_equal(sampler.batch(0)["fixed"], sampler.batch(1)["fixed"])
    assert not np.array_equal(sampler.batch(0)["fixed"], PairSampler(*data, 4, 8, augment).batch(0)["fixed"])


def test_a_subject_never_meets_itself_and_each_meets_each():
    sampler = PairSampler(*constant_subjects(4), batch_size=50, seed=0)
    seen = set()
    for step in range(8):
        batch = sampler.batch(step)
        np.testing.assert_array_equal(batch["moving"], batch["moving_labels"])
        np.testing.assert_array_equal(batch["fixed"], batch["fixed_labels"])
        seen |= set(zip(batch["fixed_labels"][:, 0, 0, 0], batch["moving_labels"][:, 0, 0, 0], strict=True))
    assert seen == {(a, b) for a in range(4) for b in range(4) if a != b}


def test_a_batch_may_be_changed_without_changing_the_data():
    images, labels = constant_subjects(3)
    sampler = PairSampler(images, labels, 4, 0)
    expected = sampler.batch(0)["fixed"].copy()
    sampler.batch(0)["fixed"][:] = -1.0
    np.testing.assert_array_equal(sampler.batch(0)["fixed"], expected)


def test_moving_and_fixed_are_augmented_independently():
    images = np.full((2, 16, 16, 1), 0.5, np.float32)
    batch = PairSampler(images, None, 1, 0, Augmentation(bias_field=0.2)).batch(0)
    assert np.abs(batch["moving"] - batch["fixed"]).max() > 0.01


def test_the_moving_image_alone_is_moved_with_its_labels():
    rng = np.random.default_rng(0)
    labels = np.zeros((3, 24, 24, 1), np.int32)
    for subject in range(3):
        labels[subject, 6 + subject : 17, 7:16] = 1
    images = 0.1 + 0.8 * labels.astype(np.float32)
    both = Augmentation(gamma=0.2, shift=0.05)
    affine = Augmentation(rotation=0.4, scale=0.2, shear=0.2, shift=0.1)
    data = images, labels, 4, int(rng.integers(100)), both
    before, sampler = PairSampler(*data).batch(5), PairSampler(*data, affine)
    after, again = sampler.batch(5), sampler.batch(5)
    for name in ("fixed", "fixed_labels"):
        np.testing.assert_array_equal(after[name], before[name])
    for name in ("moving", "moving_labels"):
        np.testing.assert_array_equal(after[name], again[name])
        assert all((a != b).any() for a, b in zip(after[name], before[name], strict=True))
    bright = (after["moving"] > after["moving"].max(axis=(1, 2, 3), keepdims=True) / 2).astype(int)
    assert np.mean(bright == after["moving_labels"]) > 0.95
    assert set(PairSampler(images, None, 4, 0, augment_moving=affine).batch(0)) == {"moving", "fixed"}


def test_moving_labels_from_outside_are_background():
    images, labels = np.full((2, 16, 16, 1), 0.5, np.float32), np.ones((2, 16, 16, 1), np.int32)
    batch = PairSampler(images, labels, 8, 0, None, Augmentation(shift=0.4)).batch(0)
    assert (batch["moving"] == 0.5).all() and (batch["fixed_labels"] == 1).all()
    assert 0.1 < np.mean(batch["moving_labels"] == 0) < 0.7


def test_label_sampler_uses_every_subject_before_one_again():
    _, labels = constant_subjects(5)
    sampler = LabelSampler(labels, batch_size=5, seed=1)
    batch = sampler.batch(2)
    assert sorted(batch[:, 0, 0, 0]) == list(range(5))
    np.testing.assert_array_equal(batch, sampler.batch(2))
    assert LabelSampler(labels, batch_size=12, seed=1).batch(0).shape == (12, 4, 6, 1)


def test_label_sampler_moves_labels():
    labels = np.zeros((2, 16, 16, 1), np.int32)
    labels[:, 4:12, 4:12] = 1
    moved = LabelSampler(labels, 2, 0, Augmentation(shift=0.2, noise=0.5)).batch(0)
    assert set(np.unique(moved)) == {0, 1}
    assert not np.array_equal(moved, labels)


@pytest.mark.parametrize("sampler", [PairSampler, LabelSampler])
@pytest.mark.parametrize("wrong", [{"batch_size": 0, "seed": 0}, {"batch_size": 1, "seed": -1}])
def test_batch_size_and_seed_are_checked(sampler, wrong):
    images, labels = constant_subjects(3)
    data = (images, labels) if sampler is PairSampler else (labels,)
    with pytest.raises(AcregError, match="Received: (batch_size=0|seed=-1)"):
        sampler(*data, **wrong)


def test_wrong_arrays_are_refused():
    images, labels = constant_subjects(3)
    with pytest.raises(AcregError, match="two subjects"):
        PairSampler(images[:1], labels[:1], 2, 0)
    with pytest.raises(AcregError, match="labels must be integers"):
        PairSampler(images, labels.astype(np.float32), 2, 0)
    with pytest.raises(AcregError, match="same subjects and spatial shape"):
        PairSampler(images, labels[:, :2], 2, 0)
    with pytest.raises(AcregError, match="channels"):
        PairSampler(images[..., 0], None, 2, 0)
    with pytest.raises(AcregError, match="0 subjects"):
        LabelSampler(labels[:0], 2, 0)


def test_fixed_pairs_repeat_only_when_all_are_used():
    names = ["a", "b", "c", "d"]
    pairs = fixed_pairs(names, 30, seed=3)
    assert len(pairs) == 30
    assert len(set(pairs[:12])) == len(set(pairs[12:24])) == 12
    assert all(fixed != moving for fixed, moving in pairs)
    assert pairs == fixed_pairs(names, 30, seed=3)
    assert pairs[:12] != fixed_pairs(names, 12, seed=4)
    assert fixed_pairs(names, 5, seed=3) == pairs[:5]
    assert fixed_pairs(names, 0, seed=3) == []


def test_fixed_pairs_checks_its_arguments():
    with pytest.raises(AcregError, match="two subjects"):
        fixed_pairs(["a"], 1, 0)
    with pytest.raises(AcregError, match="Received twice: a"):
        fixed_pairs(["a", "b", "a"], 1, 0)
    with pytest.raises(AcregError, match="count=-1"):
        fixed_pairs(["a", "b"], -1, 0)


@pytest.mark.parametrize("shape", [(4, 6), (3, 4, 5)])
def test_single_images_come_with_their_own_labels_and_spacing(shape):
    images, labels = constant_subjects(5, shape)
    spacings = np.arange(5)[:, None] + np.linspace(0.1, 0.9, len(shape))
    sampler = ImageSampler(images, labels, spacings, batch_size=3, seed=0)
    seen = set()
    for step in (0, 1, 2, 3, 2):
        batch = sampler.batch(step)
        assert {name: (x.shape, x.dtype.name) for name, x in batch.items()} == {
            "image": ((3, *shape, 1), "float32"),
            "labels": ((3, *shape, 1), "int32"),
            "spacing": ((3, len(shape)), "float32"),
        }
        numbers = batch["labels"].reshape(3, -1)[:, 0]
        np.testing.assert_array_equal(batch["image"], batch["labels"])
        np.testing.assert_allclose(batch["spacing"], spacings[numbers], rtol=1e-6)
        seen |= set(numbers.tolist())
        again = ImageSampler(images, labels, spacings, 3, 0).batch(step)
        np.testing.assert_array_equal(batch["image"], again["image"])
    assert seen == set(range(5))


def test_real_pairs_beside_single_images_are_those_of_their_sampler():
    images, labels = constant_subjects(5)
    pairs = PairSampler(images, labels, batch_size=2, seed=4)
    batch = ImageSampler(images, labels, np.ones((5, 2)), 1, 4, pairs).batch(6)
    assert set(batch) == {"image", "labels", "spacing", "moving", "fixed", "moving_labels", "fixed_labels"}
    for name, value in pairs.batch(6).items():
        np.testing.assert_array_equal(batch[name], value)
    assert "labels" not in ImageSampler(images, None, np.ones((5, 2)), 1, 4).batch(0)


def test_a_spacing_is_needed_for_each_image_and_axis():
    images, labels = constant_subjects(5)
    with pytest.raises(AcregError, match=r"spacing for each axis. Received: .* spacings.shape=\(5, 3\)"):
        ImageSampler(images, labels, np.ones((5, 3)), 1, 0)


def velocities_of(*pairs: tuple[int, int]) -> dict[tuple[int, int], np.ndarray]:
    """Each of 8 x 8 voxels, with its pair's positions as its two components, and the row in both."""
    rows = np.arange(8.0)[:, None, None]
    return {pair: (np.array(pair) + rows + np.zeros((8, 8, 2))).astype(np.float16) for pair in pairs}


def numbered(subjects: int = 3) -> tuple[np.ndarray, np.ndarray]:
    images = np.arange(subjects, dtype=np.float32)[:, None, None, None] + np.zeros((subjects, 8, 8, 1), np.float32)
    return images, images.astype(np.int32)


def test_velocities_come_with_the_images_of_their_pair():
    known = velocities_of((0, 1), (2, 0), (1, 2))
    sampler = VelocitySampler(*numbered(), known, batch_size=6, seed=1)
    drawn = set()
    for step in range(5):
        batch = sampler.batch(step)
        for i in range(6):
            pair = int(batch["fixed"][i, 0, 0, 0]), int(batch["moving"][i, 0, 0, 0])
            np.testing.assert_array_equal(batch["velocity"][i], known[pair])
            assert (batch["fixed_labels"][i] == pair[0]).all() and (batch["moving_labels"][i] == pair[1]).all()
            drawn.add(pair)
        np.testing.assert_array_equal(batch["velocity"], sampler.batch(step)["velocity"])
    assert drawn == set(known) and batch["velocity"].dtype == np.float32


def test_a_pair_is_shifted_together_with_its_velocity():
    images, labels = numbered(2)
    images = images + np.arange(8.0)[:, None, None] * 10
    known = velocities_of((0, 1))
    sampler = VelocitySampler(images, labels, known, batch_size=8, seed=2, max_shift=(3, 0))
    batch = sampler.batch(0)
    shifts = set()
    for i in range(8):
        rows = batch["fixed"][i, :, 0, 0] / 10
        np.testing.assert_array_equal(batch["moving"][i, :, 0, 0], rows * 10 + 1)
        np.testing.assert_array_equal(batch["velocity"][i, :, 0, 0], rows)
        np.testing.assert_array_equal(rows, np.clip(np.arange(8) - (3 - rows[3]), 0, 7))
        shifts.add(int(rows[3]))
    assert len(shifts) > 2 and shifts <= set(range(7))


def test_velocities_of_another_grid_or_none_are_refused():
    images, labels = numbered()
    with pytest.raises(AcregError, match=r"grid of the images, \(8, 8\). Received: 1 velocities, such as one of shape"):
        VelocitySampler(images, labels, {(0, 1): np.zeros((4, 8, 2))}, 1, 0)
    with pytest.raises(AcregError, match="so nothing to learn"):
        VelocitySampler(images, labels, {}, 1, 0)
    with pytest.raises(AcregError, match=r"less than the size. Received: \[8, 0\]"):
        VelocitySampler(images, labels, velocities_of((0, 1)), 1, 0, max_shift=(8, 0))
