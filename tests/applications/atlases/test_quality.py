"""Reverse classification accuracy: it follows the true Dice over the whole range, and its parts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from acreg.applications.atlases.multi_atlas import Atlases
from acreg.applications.atlases.quality import (
    PredictedQuality,
    label_dice,
    predict_quality,
    spoiled,
)
from acreg.data.manifest import Dataset
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image
from acreg.registration.methods import named_method


@pytest.fixture(scope="module")
def references(phantoms: Dataset) -> Atlases:
    return Atlases(phantoms)


def test_the_prediction_follows_the_true_dice(phantoms: Dataset, references: Atlases) -> None:
    method = named_method("sitk:demons[affine=false,iterations=40x20]", 1, 0)
    true, predicted = [], []
    for number, record in enumerate([*phantoms.split("test"), *phantoms.split("validation")]):
        image, truth = phantoms.read_image(record), phantoms.read_labels(record)
        for strength in (0, 0.02, 0.05, 0.1, 0.2):
            worse = spoiled(truth, strength, seed=number)
            true.append(np.nanmean(label_dice(worse.array, truth.array, phantoms.label_values[1:])))
            predicted.append(predict_quality([(image, worse)], references, method, 3)[0].maximum)
    assert max(true) == 1 and min(true) < 0.6
    assert np.corrcoef(true, predicted)[0, 1] > 0.9
    assert np.abs(np.subtract(true, predicted)).mean() < 0.1


def test_dice_by_hand() -> None:
    one, other = np.array([0, 1, 1, 2, 2, 0]), np.array([0, 1, 2, 2, 0, 4])
    np.testing.assert_allclose(label_dice(one, other, (1, 2, 3, 4)), [2 / 3, 0.5, np.nan, 0])


def test_summaries_by_hand() -> None:
    found = PredictedQuality((1, 2, 3), np.array([[0.9, np.nan, np.nan], [0.7, 0.3, np.nan]]), ("a", "b"))
    assert found.maximum == pytest.approx(0.9) and found.mean == pytest.approx((0.9 + 0.5) / 2)
    assert found.per_label == pytest.approx({1: 0.9, 2: 0.3, 3: np.nan}, nan_ok=True)
    assert found.accepted(0.9) and not found.accepted()


def test_a_subject_would_be_a_perfect_atlas_of_itself_and_is_left_out(phantoms: Dataset, references: Atlases) -> None:
    record = references.records[2]
    image, truth = phantoms.read_image(record), phantoms.read_labels(record)
    method = named_method("unregistered", 1, 0)
    brighter = Image(2 * image.array, image.grid)
    (found,) = predict_quality([(brighter, truth)], references, method, 1)
    assert found.references == (record.subject,) and found.maximum == 1 and found.accepted()
    for case, without in ((image, []), (brighter, [record.subject])):
        (others,) = predict_quality([(case, truth)], references, method, 3, without=without)
        assert record.subject not in others.references and others.mean <= others.maximum < 1


def test_spoiling_is_nothing_at_0_grows_and_depends_on_the_seed(phantoms: Dataset, references: Atlases) -> None:
    truth = phantoms.read_labels(references.records[0])
    np.testing.assert_array_equal(spoiled(truth, 0, 1).array, truth.array)
    values = phantoms.label_values[1:]
    dice = [np.nanmean(label_dice(spoiled(truth, s, 1).array, truth.array, values)) for s in (0, 0.03, 0.1, 0.3)]
    assert dice == sorted(dice, reverse=True) and dice[-1] < 0.5
    np.testing.assert_array_equal(spoiled(truth, 0.1, 1).array, spoiled(truth, 0.1, 1).array)
    assert (spoiled(truth, 0.1, 1).array != spoiled(truth, 0.1, 2).array).any()
    with pytest.raises(UsageError, match="strength=-1"):
        spoiled(truth, -1, 0)


def test_what_cannot_be_judged(phantoms: Dataset, references: Atlases) -> None:
    image, method = phantoms.read_image(references.records[0]), named_method("unregistered", 1, 0)
    for array, found in (
        (np.zeros((4, 4)), r"on 4 x 4 voxels.* on 48 x 40 voxels.*shapes differ"),
        (np.zeros(image.grid.shape), "without foreground"),
        (np.full(image.grid.shape, 99), r"with labels \[99\], and phantoms has"),
    ):
        wrong = Image(array.astype(np.int32), Grid(array.shape), kind="labels")
        with pytest.raises(AcregError, match=found):
            predict_quality([(image, wrong)], references, method)
