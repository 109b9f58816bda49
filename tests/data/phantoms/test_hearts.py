from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from acreg.data.check.dataset import check
from acreg.data.manifest import Dataset
from acreg.data.phantoms.common import streams, unit_grid
from acreg.data.phantoms.hearts import (
    EXTENT_MM,
    LABEL_NAMES,
    _draw_anatomy,
    _scene,
    heart_pair,
    heart_phantom,
    make_heart_dataset,
)
from acreg.errors import AcregError
from acreg.geometry import jacobian_determinant, warp_array
from acreg.io import read_image, read_labels

SMALL = (12, 40, 40)
LEFT_POOL, LEFT_WALL, RIGHT_POOL, RIGHT_WALL = 1, 2, 3, 4


@pytest.fixture(scope="module")
def people():
    return [heart_phantom((7, number)) for number in range(12)]


def dice(first, second):
    return np.array([2 * np.sum((first == k) & (second == k)) / np.sum((first == k) * 1 + (second == k)) for k in
                     (1, 2, 3, 4)])  # fmt: skip


def test_the_displacement_carries_moving_onto_fixed():
    shape = (32, 48, 48)  # with the usual thick slices, labels between them are not seen
    fixed, moving, displacement = heart_pair(0, 5, shape, appearance=False)
    assert displacement.shape == (*shape, 3) and displacement.dtype == np.float32
    warped = np.argmax(
        [warp_array((moving.labels == label).astype(np.float32), displacement) for label in LABEL_NAMES], axis=0
    )
    assert dice(warped, fixed.labels).min() > 0.87 > dice(moving.labels, fixed.labels).max()
    at = np.moveaxis(displacement, -1, 0) + np.indices(shape)
    within = np.all([(at[d] >= 0) & (at[d] <= shape[d] - 1) for d in range(3)], axis=0)
    after, before = (
        np.abs(image - fixed.image)[within] for image in (warp_array(moving.image, displacement), moving.image)
    )
    assert after.mean() < 0.15 * before.mean()
    for axis in range(3):
        off = displacement + 0.7 * np.eye(3, dtype=np.float32)[axis]
        assert np.abs(warp_array(moving.image, off) - fixed.image)[within].mean() > 1.1 * after.mean()


def test_the_displacement_is_exact():
    """Without interpolation: the moving subject's scene, read where the displacement says, is the fixed one."""
    fixed, _, displacement = heart_pair(1, 2, SMALL, appearance=False)
    points = unit_grid(SMALL) + np.moveaxis(displacement, -1, 0) / np.reshape(SMALL, (3, 1, 1, 1))
    _, labels = _scene(_draw_anatomy(streams(2)[0]).to_template(points), 3.0)
    assert (labels != fixed.labels).mean() < 1e-4


def test_maps_are_invertible_and_do_not_fold():
    points = unit_grid((16, 20, 20))
    for seed in range(12):
        anatomy = _draw_anatomy(streams(seed)[0])
        mapped = anatomy.to_template(points)
        assert np.abs(anatomy.from_template(mapped) - points).max() < 1e-8
        voxels = np.moveaxis(mapped - points, 0, -1) * points.shape[1:]
        assert jacobian_determinant(voxels).min() > 0.2


def test_known_displacements_do_not_fold():
    for fixed, moving in pairwise(range(5)):
        anatomies = [_draw_anatomy(streams(seed)[0]) for seed in (fixed, moving)]
        assert jacobian_determinant(anatomies[0].displacement_to(anatomies[1], SMALL)).min() > 0.05
    assert np.abs(anatomies[0].displacement_to(anatomies[0], SMALL)).max() < 1e-5


def test_every_subject_has_its_four_parts_in_one_piece_each(people):
    for image, labels in people:
        assert labels.dtype == np.int32 and image.dtype == np.float32 and labels.shape == image.shape == (16, 64, 64)
        edge = np.ones(labels.shape, bool)
        edge[1:-1, 1:-1, 1:-1] = False
        assert not labels[edge].any()
        for label in (1, 2, 3, 4):
            pieces, _ = ndimage.label(labels == label, np.ones((3, 3, 3)))
            sizes = np.bincount(pieces.ravel())[1:]
            assert sizes.max() > 400 and sizes.max() > 0.93 * sizes.sum()  # the plane of the base may cut off a corner


def test_anatomy_of_the_labels(people):
    for _, labels in people:
        centre = {label: np.argwhere(labels == label).mean(axis=0) for label in (1, 2, 3, 4)}
        assert centre[RIGHT_POOL][2] < centre[LEFT_POOL][2] - 8  # the patient's right is on the left of the picture
        pool, wall = ((labels == label) for label in (LEFT_POOL, LEFT_WALL))
        touched = ndimage.binary_dilation(pool, ndimage.generate_binary_structure(3, 1)) & ~pool
        above = np.flatnonzero((labels > 0).any(axis=(1, 2)))[:4]  # slices that the oblique plane of the base may cut
        touched[: above[-1]] = False
        assert wall[touched].all()  # closed around the pool and the apex, open at the base
        last = [np.flatnonzero((labels == k).any(axis=(1, 2)))[-1] for k in (LEFT_POOL, LEFT_WALL, RIGHT_POOL)]
        assert last[1] > last[0] and last[1] > last[2]
        area = (labels > 0).sum(axis=(1, 2))
        assert area[above[-1]] > 1.3 * area[above[-1] + 5]
        thickness = 2 * ndimage.distance_transform_edt(np.pad(labels == RIGHT_WALL, 1))[1:-1][above[-1]].max()
        assert thickness >= 2


def test_blood_is_bright_and_muscle_is_dark(people):
    brightness = []
    for image, labels in people:
        means = [image[labels == label].mean() for label in (1, 2, 3, 4)]
        assert min(means[0], means[2]) > 1.4 * max(means[1], means[3])
        assert 0 <= image.min() and image.max() <= 255
        brightness.append(means)
    assert (np.std(brightness, axis=0) > 6).all()


def test_subjects_differ_much(people):
    scores = np.array([dice(one.labels, other.labels) for n, one in enumerate(people) for other in people[:n]])
    mean = scores.mean(axis=0)
    assert 0.3 < mean[LEFT_WALL - 1] < 0.6
    assert scores.max() < 0.95
    ratios = [np.sum(labels == LEFT_WALL) / np.sum(labels == LEFT_POOL) for _, labels in people]
    assert max(ratios) > 1.6 * min(ratios)


def test_a_seed_is_a_subject():
    first, again, other = (heart_phantom(seed, SMALL) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)
    plain = heart_phantom(3, SMALL, appearance=False)
    np.testing.assert_array_equal(first.labels, plain.labels)
    assert np.abs(first.image - plain.image).mean() > 1


def test_wrong_arguments_are_refused(tmp_path):
    for shape in ((16, 31, 64), (7, 64, 64), (64, 64)):
        with pytest.raises(AcregError, match="8 slices or more.*Received: shape="):
            heart_phantom(0, shape)
    with pytest.raises(AcregError, match="Received: seed=-1"):
        heart_phantom(-1)
    with pytest.raises(AcregError, match="Received: subjects=4"):
        make_heart_dataset(tmp_path / "few", subjects=4)
    assert not (tmp_path / "few").exists()


def test_dataset_is_prepared_and_holds_the_subjects(tmp_path):
    make_heart_dataset(tmp_path / "hearts", subjects=10, shape=SMALL, seed=3)
    dataset = Dataset.load(tmp_path / "hearts")
    assert [len(dataset.split(name)) for name in ("train", "validation", "test")] == [6, 2, 2]
    assert dataset.label_names == LABEL_NAMES
    np.testing.assert_allclose(dataset.spacing, np.divide(EXTENT_MM, SMALL))
    phantom = heart_phantom((3, 9), SMALL)
    record = dataset.split("test")[-1]
    np.testing.assert_array_equal(read_labels(record.labels).array, phantom.labels)
    image = read_image(record.image)
    np.testing.assert_allclose(image.array, phantom.image, atol=1e-3)
    right, left = (image.grid.to_world(np.argwhere(phantom.labels == k).mean(axis=0)) for k in (RIGHT_POOL, LEFT_POOL))
    assert left[2] > right[2] + 10  # the world axes are (superior, posterior, left)
    assert image.grid.to_world((0, 0, 0))[0] > image.grid.to_world((1, 0, 0))[0]  # base above apex
    found = check(tmp_path / "hearts")
    assert found.errors == 0
