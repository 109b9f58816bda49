"""Features of segmentations by hand, and a cross-validation that does not leak."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from acreg.errors import AcregError, UsageError
from acreg.evaluation.classification import (
    CrossValidation,
    cardiothoracic_ratio,
    cross_validate,
    label_codes,
    mask_vector,
)
from acreg.geometry import Grid
from acreg.io import Image, Preprocessing
from acreg.models import LabelAutoencoder


def label_image(array: np.ndarray) -> Image:
    return Image(np.asarray(array, np.int32), Grid(array.shape, (2.0, 2.0)), kind="labels")


def chest(heart: int, size: int = 64) -> Image:
    """Lungs from column 8 to 55, at the lower rows from 4 to 59; a heart of some width in the middle."""
    array = np.zeros((size, size), np.int32)
    array[10:40, 8:28], array[10:40, 36:56] = 1, 2
    array[40:50, 4:28], array[40:50, 36:60] = 1, 2
    array[30:45, 32 - heart // 2 : 32 - heart // 2 + heart] = 3
    return label_image(array)


def test_the_ratio_by_hand() -> None:
    assert cardiothoracic_ratio(chest(14), 3, (1, 2)) == pytest.approx(14 / 56)
    assert cardiothoracic_ratio(chest(30), 3, (1, 2)) == pytest.approx(30 / 56)
    large = np.kron(chest(30).array, np.ones((3, 2), int))
    assert cardiothoracic_ratio(label_image(large), 3, (1, 2)) == pytest.approx(30 / 56)
    for labels, heart in ((chest(14), 9), (label_image(np.zeros((4, 4))), 3)):
        with pytest.raises(AcregError, match=f"2-D label map with heart and lungs.*heart {heart}, lungs"):
            cardiothoracic_ratio(labels, heart, (1, 2))


def test_mask_vectors_hold_each_label_and_do_not_depend_on_the_size() -> None:
    vector = mask_vector(chest(14), (1, 2, 3))
    assert vector.shape == (3 * 64 * 64,) and set(np.unique(vector)) == {0, 1}
    assert vector.reshape(3, -1).sum(axis=1).tolist() == [(chest(14).array == v).sum() for v in (1, 2, 3)]
    large = label_image(np.kron(chest(14).array, np.ones((3, 3), int)))
    np.testing.assert_array_equal(mask_vector(large, (1, 2, 3)), vector)


def test_codes_are_the_encoders() -> None:
    model = LabelAutoencoder(shape=(64, 64), num_classes=3, code_size=5)
    maps = [label_image(chest(w).array % 3 * 7) for w in (8, 20)]
    image = Image(np.ones((64, 64), np.float32) + np.eye(64, dtype=np.float32), Grid((64, 64), (2.0, 2.0)))
    with pytest.raises(AcregError, match="without `preprocessing`"):
        label_codes(model, [image] * 2, maps)
    model.preprocessing = Preprocessing(shape=(64, 64), label_values=[0, 7, 14])
    found = label_codes(model, [image] * 2, maps)
    expected = model.encode(np.stack([m.array for m in maps])[..., None] // 7)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-5, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_what_separates_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(120) < 50
    useful = cross_validate(rng.normal(0, 1, (120, 4)) + 2.5 * truth[:, None], truth)
    assert useful.accuracy > 0.95 and useful.auc > 0.98
    # More features than subjects: whatever is fitted outside of the folds would find the noise.
    for masks in (False, True):
        noise = cross_validate(rng.integers(0, 2, (120, 900)), truth, masks)
        assert 0.3 < noise.auc < 0.7
        assert noise.auc_interval[0] < 0.5 < noise.auc_interval[1]


def test_widths_of_hearts_are_seen_by_ratio_and_by_masks() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(60) % 2 == 0
    maps = [chest(int(rng.integers(24, 30) if ill else rng.integers(12, 20))) for ill in truth]
    ratios = [[cardiothoracic_ratio(m, 3, (1, 2))] for m in maps]
    assert cross_validate(ratios, truth).accuracy == 1
    assert cross_validate([mask_vector(m, (1, 2, 3)) for m in maps], truth, masks=True).accuracy > 0.95


def test_numbers_of_a_cross_validation() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(200) < 0.4
    found = CrossValidation(truth, rng.normal(0, 1, 200) + truth - 0.5, 0)
    assert found.accuracy == ((found.scores > 0) == truth).mean()
    assert found.auc == pytest.approx(roc_auc_score(truth, found.scores))
    right, z = found.accuracy, 1.959964
    middle, half = right + z**2 / 400, z * np.sqrt(right * (1 - right) / 200 + z**2 / (4 * 200**2))
    expected = [(middle + sign * half) / (1 + z**2 / 200) for sign in (-1, 1)]
    np.testing.assert_allclose(found.accuracy_interval, expected, rtol=1e-4)
    low, high = found.auc_interval
    assert low < found.auc < high and 0.05 < high - low < 0.25
    assert found.auc_interval == (low, high)


def test_folds_depend_on_the_seed_alone() -> None:
    rng = np.random.default_rng(3)
    features, truth = rng.normal(0, 1, (60, 3)), np.arange(60) < 25
    one, again, other = (cross_validate(features, truth, folds=5, seed=s).scores for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01


def test_a_group_is_never_split_between_folds() -> None:
    """A patient's images are alike and share the disease: a classifier that saw one of them knows the others."""
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(40), 3)
    features = rng.normal(0, 1, (40, 8))[patients] + rng.normal(0, 0.01, (120, 8))
    truth = rng.permutation(np.arange(40) < 16)[patients]
    split = cross_validate(features, truth, folds=10)
    whole = cross_validate(features, truth, folds=10, groups=[f"patient {p}" for p in patients])
    assert split.auc > 0.95 and whole.auc < 0.7
    with pytest.raises(UsageError, match="20 folds, 16 groups in the class with fewer"):
        cross_validate(features, truth, folds=20, groups=list(map(str, patients)))


def test_what_cannot_be_cross_validated() -> None:
    truth = np.arange(50) < 15
    with pytest.raises(UsageError, match="15 subjects with the disease and 35 without, 20 folds"):
        cross_validate(np.ones((50, 2)), truth)
    for features in (np.ones((49, 2)), np.ones(50), np.full((50, 2), np.nan)):
        with pytest.raises(UsageError, match="a finite row of features a subject"):
            cross_validate(features, truth, folds=5)
