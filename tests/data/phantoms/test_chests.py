from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from acreg.data.manifest import Dataset
from acreg.data.phantoms.chests import LABEL_NAMES, _draw_anatomy, chest_phantom, make_dataset, phantom_pair
from acreg.data.phantoms.common import streams, unit_grid
from acreg.errors import AcregError
from acreg.io import Preprocessing, read_image, read_labels


def warp(array, displacement):
    grid = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"))
    return map_coordinates(array.astype(float), grid + np.moveaxis(displacement, -1, 0), order=1, mode="nearest")


def warp_labels(labels, displacement):
    return np.argmax([warp(labels == label, displacement) for label in LABEL_NAMES], axis=0)


def dice(first, second):
    return np.array(
        [2 * np.sum((first == k) & (second == k)) / np.sum((first == k).astype(int) + (second == k)) for k in (1, 2, 3)]
    )


@pytest.mark.parametrize("shape", [(128, 128), (160, 120)])
def test_the_displacement_carries_moving_onto_fixed(shape):
    for fixed_seed, moving_seed in pairwise(range(6)):
        fixed, moving, displacement = phantom_pair(fixed_seed, moving_seed, shape, appearance=False)
        assert displacement.shape == (*shape, 2)
        assert displacement.dtype == np.float32
        assert dice(warp_labels(moving.labels, displacement), fixed.labels).min() > 0.98
        at = np.moveaxis(displacement, -1, 0) + np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
        within = np.all([(at[d] >= 0) & (at[d] <= shape[d] - 1) for d in range(2)], axis=0)
        after = np.abs(warp(moving.image, displacement) - fixed.image)[within]
        before = np.abs(moving.image - fixed.image)[within]
        assert after.mean() < 1.5  # of 255: what linear interpolation loses at edges, see the next test
        assert after.mean() < 0.08 * before.mean()
        assert np.percentile(after, 99) < 18


def test_the_image_error_is_that_of_linear_interpolation():
    """It falls by more than half at twice the resolution, and grows when the displacement is off by half a voxel."""
    errors = []
    for size in (128, 256):
        fixed, moving, displacement = phantom_pair(3, 4, (size, size), appearance=False)
        inner = (slice(size // 5, -size // 5),) * 2
        errors.append(np.abs(warp(moving.image, displacement) - fixed.image)[inner].mean())
        for off in ((0.5, 0.0), (0.0, 0.5), (-0.5, 0.0), (0.0, -0.5)):
            assert np.abs(warp(moving.image, displacement + off) - fixed.image)[inner].mean() > 1.2 * errors[-1]
    assert errors[1] < 0.5 * errors[0]


def test_displacement_from_a_subject_to_itself_is_zero():
    _, _, displacement = phantom_pair(5, 5, (32, 32))
    assert np.abs(displacement).max() < 1e-6


def test_maps_are_invertible_and_do_not_fold():
    points = unit_grid((48, 48))
    for seed in range(40):
        anatomy = _draw_anatomy(streams(seed)[0])
        mapped = anatomy.to_template(points)
        assert np.abs(anatomy.from_template(mapped) - points).max() < 1e-9
        (rr, rc), (cr, cc) = (np.gradient(mapped[d] * 48) for d in range(2))
        assert (rr * cc - rc * cr).min() > 0.3


def test_subjects_differ_about_as_much_as_people():
    labels = [chest_phantom((7, number), (64, 64), appearance=False).labels for number in range(20)]
    scores = np.array([dice(labels[i], labels[j]).mean() for i in range(20) for j in range(i)])
    assert 0.6 < scores.mean() < 0.8
    assert scores.max() < 0.95
    breadths = []
    for one in labels:
        heart, lungs = (np.flatnonzero(np.isin(one, values).any(axis=0)) for values in ((3,), (1, 2)))
        breadths.append(np.ptp(heart) / np.ptp(lungs))
    assert 0.4 < np.mean(breadths) < 0.55
    assert np.std(breadths) > 0.02


def test_anatomy_of_labels_and_brightness():
    for seed in range(10):
        image, labels = chest_phantom(seed, (96, 96))
        assert image.dtype == np.float32
        assert labels.dtype == np.int32
        assert image.min() >= 0
        assert image.max() <= 255
        left, right, heart = (np.argwhere(labels == label).mean(axis=0) for label in (1, 2, 3))
        assert right[1] < heart[1] < left[1]  # the patient's left is on the right of the picture
        assert heart[0] > max(left[0], right[0])
        mean = [image[labels == label].mean() for label in range(4)]
        assert max(mean[1], mean[2]) + 20 < mean[3]
        assert min(np.sum(labels == label) for label in (1, 2, 3)) > 0.04 * labels.size


def test_a_seed_is_a_subject():
    first, again, other = chest_phantom(3, (64, 64)), chest_phantom(3, (64, 64)), chest_phantom(4, (64, 64))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)
    plain = chest_phantom(3, (64, 64), appearance=False)
    np.testing.assert_array_equal(first.labels, plain.labels)
    assert np.abs(first.image - plain.image).mean() > 1
    assert not np.array_equal(chest_phantom((0, 1), (64, 64)).labels, chest_phantom((1, 0), (64, 64)).labels)


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(AcregError, match="at least 16 pixels. Received: shape="):
        chest_phantom(0, (8, 64))
    with pytest.raises(AcregError, match="Received: seed=-1"):
        chest_phantom(-1)
    with pytest.raises(AcregError, match="Received: subjects=4"):
        make_dataset(tmp_path / "few", subjects=4)
    assert not (tmp_path / "few").exists()


def test_dataset_is_prepared_and_holds_the_subjects(tmp_path):
    made = make_dataset(tmp_path / "phantoms", subjects=10, shape=(48, 40), seed=3)
    dataset = Dataset.load(tmp_path / "phantoms")
    assert [len(dataset.split(name)) for name in ("train", "validation", "test")] == [6, 2, 2]
    assert dataset.label_names == LABEL_NAMES == made.label_names
    assert dataset.unit == "mm"
    np.testing.assert_allclose(dataset.spacing, (358.4 / 48, 358.4 / 40))
    phantom = chest_phantom((3, 9), (48, 40))
    record = dataset.split("test")[-1]
    np.testing.assert_array_equal(read_labels(record.labels).array, phantom.labels)
    np.testing.assert_allclose(read_image(record.image).array, phantom.image, atol=0.51)
    preprocessing = Preprocessing(
        shape=(32, 32), intensity="divide_by_255", label_values=[0, 1, 2, 3], label_names=LABEL_NAMES
    )
    arrays = dataset.load_arrays("train", preprocessing)
    assert arrays.images.shape == arrays.labels.shape == (6, 32, 32, 1)
    assert set(np.unique(arrays.labels)) == {0, 1, 2, 3}
