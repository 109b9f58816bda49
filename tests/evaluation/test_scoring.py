import numpy as np
import pytest

from acreg.evaluation.scoring import (
    centroid_errors,
    local_correlations,
    score_pair,
    target_registration_errors,
    true_errors,
)
from acreg.geometry import Affine, Displacement, Grid, Transform
from acreg.io import Image
from acreg.metrics import local_correlation
from acreg.registration.methods import Unregistered

GRID = Grid((9, 12, 10), (3.0, 0.5, 1.25), (-20.0, 40.0, 7.0), np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1]]))


@pytest.fixture
def labels():
    array = np.zeros(GRID.shape, int)
    array[2:6, 3:9, 2:5], array[6:8, 3:9, 2:9] = 1, 3
    return Image(array, GRID, "labels")


def field(scale, seed=0):
    return np.random.default_rng(seed).uniform(-scale, scale, (*GRID.shape, 3))


def identity(grid=GRID):
    return Transform(grid, grid)


def test_identical_transforms_are_no_distance_apart(labels):
    truth = Transform(GRID, GRID, (Displacement(field(2), GRID),))
    assert true_errors(truth, truth, labels, [1, 3]) == {1: 0.0, 3: 0.0}


@pytest.mark.parametrize("voxels", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 2, 0.5)])
def test_the_identity_misses_a_shift_by_its_length_in_mm(labels, voxels):
    length = np.linalg.norm(np.multiply(voxels, GRID.spacing))
    vectors = np.broadcast_to(np.array(voxels, float), (*GRID.shape, 3))
    mm = np.eye(4)
    mm[:3, 3] = np.asarray(GRID.direction) @ np.multiply(voxels, GRID.spacing)
    for shift in (Displacement(vectors, GRID), Affine(mm)):
        for pair in ((identity(), Transform(GRID, GRID, (shift,))), (Transform(GRID, GRID, (shift,)), identity())):
            assert true_errors(*pair, labels, [1, 3]) == pytest.approx({1: length, 3: length})


def test_each_label_is_the_mean_over_its_own_voxels(labels, monkeypatch):
    monkeypatch.setattr("acreg.evaluation.scoring.SLAB_VOXELS", 50)
    found, true = field(1.5, 1), field(1.5, 2)
    transforms = [Transform(GRID, GRID, (Displacement(vectors, GRID),)) for vectors in (found, true)]
    apart = np.sqrt((((found - true) * GRID.spacing) ** 2).sum(axis=-1))
    expected = {value: apart[labels.array == value].mean() for value in (1, 3)}
    errors = true_errors(*transforms, labels, [1, 2, 3])
    assert np.isnan(errors.pop(2)), "a label that the fixed image lacks"
    assert errors == pytest.approx(expected, rel=1e-5)


def test_a_pair_is_scored_against_its_truth_where_there_is_one(labels):
    rng = np.random.default_rng(3)
    image = Image(rng.random(GRID.shape), GRID)
    truth = Transform(GRID, GRID, (Displacement(np.full((*GRID.shape, 3), (0, 2, 0)), GRID),))
    fixed = truth.warp_image(image, border="edge"), truth.warp_labels(labels)  # what scores are of

    class Oracle:
        name = "oracle"

        def register(self, fixed, moving):
            return truth

    names, values = ("f", "m"), [0, 1, 3]
    perfect, _ = score_pair(Oracle(), names, fixed=fixed, moving=(image, labels), label_values=values, truth=truth)
    assert perfect.value("tre_true") == 0 and perfect.value("dsc") == 1 and perfect.ncc == pytest.approx(1)
    none, _ = score_pair(Unregistered(), names, fixed=fixed, moving=(image, labels), label_values=values, truth=truth)
    assert {label: scores["tre_true"] for label, scores in none.labels.items()} == pytest.approx({1: 1.0, 3: 1.0})
    unknown, _ = score_pair(Unregistered(), names, fixed=fixed, moving=(image, labels), label_values=values)
    assert np.isnan(unknown.value("tre_true")) and "tre_true" not in unknown.labels[1]


def test_tre_is_of_the_warped_label_and_the_centroid_error_of_one_mapped_point(labels):
    """A transform that maps the centroid of a label to itself, and loses most of the label."""
    fixed = Image(np.where(labels.array == 1, 1, 0), GRID, "labels")  # rows 3 to 8 of axis 1, of 0.5 mm
    vectors = np.zeros((*GRID.shape, 3))
    vectors[:, 5, :, 1], vectors[:, 6:, :, 1] = -4, 4  # rows 5 to 8 show background
    transform = Transform(GRID, GRID, (Displacement(vectors, GRID),))
    warped = transform.warp_labels(fixed)
    assert np.unique(np.nonzero(warped.array)[1]).tolist() == [3, 4]
    assert target_registration_errors(fixed, warped, [1]) == pytest.approx({1: (5.5 - 3.5) * 0.5})
    assert centroid_errors(transform, fixed, fixed, [1]) == pytest.approx({1: 0}, abs=1e-6)
    assert np.isnan(target_registration_errors(labels, warped, [3])[3]), "a label that one of the maps lacks"


@pytest.fixture
def images():
    rng = np.random.default_rng(4)
    fixed = rng.random(GRID.shape)
    return Image(fixed, GRID), Image(fixed + rng.random(GRID.shape), GRID)


def test_local_correlation_of_a_label_is_the_mean_of_the_whole_images_in_it(images, labels):
    small = Image(np.where(np.indices(GRID.shape)[1] == 6, labels.array, 0), GRID, "labels")
    whole = local_correlation(*(image.array for image in images))
    found = local_correlations(*images, small, [1, 2, 3])
    assert np.isnan(found.pop(2)), "a label that the fixed image lacks"
    assert found == pytest.approx({value: whole[small.array == value].mean() for value in (1, 3)})
    assert np.isnan(local_correlations(*images, labels, [7])[7])


def test_regularity_of_a_label_is_that_of_the_determinants_in_it(images, labels):
    """Of a field that stretches label 1 and squeezes it from index 5 of axis 1, and folds label 3."""
    vectors = np.zeros((*GRID.shape, 3))
    vectors[..., 1] = np.where(np.arange(12) <= 5, 0.5 * np.arange(12), 2.5 - 0.5 * (np.arange(12) - 5))[None, :, None]
    vectors[labels.array == 3] = 0
    vectors[6:8, ..., 2] = -1.5 * np.arange(10)
    found = Transform(GRID, GRID, (Displacement(vectors, GRID),))

    class Field:
        name = "field"

        def register(self, fixed, moving):
            return found

    pair = (images[0], labels), (images[1], labels)
    scores, _ = score_pair(Field(), ("f", "m"), fixed=pair[0], moving=pair[1], label_values=[0, 1, 3])
    determinant = np.maximum(found.jacobian_determinant(), 1e-9)
    assert (determinant[labels.array == 3] == 1e-9).all() and (determinant[labels.array == 1] > 0.1).any()
    for value, of in scores.labels.items():
        assert of["label_sd_log_j"] == pytest.approx(np.log(determinant[labels.array == value]).std())
    assert scores.labels[1]["label_sd_log_j"] > 0.1 and scores.labels[3]["label_sd_log_j"] < 1e-9
    assert scores.value("label_sd_log_j") == pytest.approx(scores.labels[1]["label_sd_log_j"] / 2)
    none, _ = score_pair(Unregistered(), ("f", "m"), fixed=pair[0], moving=pair[1], label_values=[1, 3])
    assert "label_sd_log_j" not in none.labels[1] and 0 < none.labels[1]["lcc"] < 1
