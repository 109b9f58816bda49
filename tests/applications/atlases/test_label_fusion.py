"""Fusion of label maps: votes by hand, ties, STAPLE against SimpleITK and on raters of known quality."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from acreg.applications.atlases.label_fusion import FUSIONS, fused_labels, label_shares
from acreg.errors import AcregError, UsageError

VALUES = (0, 3, 7)


def fuse(maps: np.ndarray, fusion: str, weights: object = None) -> np.ndarray:
    return fused_labels(label_shares(maps, VALUES, fusion, weights), VALUES, maps[0])  # type: ignore[arg-type]


@pytest.fixture
def raters() -> tuple[np.ndarray, np.ndarray]:
    """A true map of two blocks, and five copies: three with a tenth of the voxels at random, two with almost half."""
    rng = np.random.default_rng(0)
    truth = np.zeros((24, 30), np.int32)
    truth[4:14, 5:15], truth[12:22, 16:27] = 3, 7
    maps = []
    for wrong in (0.1, 0.1, 0.1, 0.45, 0.45):
        spoiled = rng.random(truth.shape) < wrong
        maps.append(np.where(spoiled, rng.choice(VALUES, truth.shape), truth))
    return truth, np.stack(maps)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_shares_sum_to_one_and_agreement_is_certain(fusion: str, raters: tuple[np.ndarray, np.ndarray]) -> None:
    truth, maps = raters
    shares = label_shares(maps, VALUES, fusion, np.arange(5.0))  # type: ignore[arg-type]
    assert shares.dtype == np.float32 and shares.shape == (3, *truth.shape)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-5)
    same = (maps == maps[0]).all(axis=0)
    assert same.any()
    for value, share in zip(VALUES, shares, strict=True):
        np.testing.assert_array_equal(share[same], maps[0][same] == value)
    np.testing.assert_array_equal(fuse(np.stack([truth] * 4), fusion, np.ones(4)), truth)


def test_votes_by_hand() -> None:
    maps = np.array([[0, 3, 3, 7], [3, 3, 7, 7], [3, 0, 7, 0]])
    np.testing.assert_array_equal(fuse(maps, "majority"), [3, 3, 7, 7])
    np.testing.assert_array_equal(fuse(maps, "weighted", [5, 1, 1]), maps[0])
    np.testing.assert_array_equal(fuse(maps, "weighted", [-5, 1, 1.5]), maps[2])
    np.testing.assert_array_equal(fuse(maps, "weighted", [-1, 0, -2]), [3, 3, 7, 7])  # none is positive: equal
    np.testing.assert_allclose(label_shares(maps, VALUES, "weighted", [2, 1, 1])[1], [0.5, 0.75, 0.5, 0])


def test_a_tie_goes_to_the_most_similar_atlas_then_to_the_first_label() -> None:
    maps = np.array([[3, 7, 0], [7, 3, 7], [7, 3, 7], [3, 7, 3], [0, 0, 3]])
    np.testing.assert_array_equal(fuse(maps, "majority"), [3, 7, 3])  # two 3 and two 7, of which the first has neither
    np.testing.assert_array_equal(fuse(maps[::-1], "majority"), [3, 3, 3])


def test_staple_trusts_those_who_agree_and_is_simpleitks(raters: tuple[np.ndarray, np.ndarray]) -> None:
    truth, maps = raters
    wrong = {fusion: (fuse(maps, fusion, np.ones(5)) != truth).mean() for fusion in FUSIONS}
    assert wrong["staple"] < wrong["majority"] and wrong["weighted"] == wrong["majority"]
    assert wrong["staple"] < 0.5 * min((each != truth).mean() for each in maps)
    two = np.where(maps == 7, 3, maps)
    shares = label_shares(two, (0, 3), "staple")
    whole = sitk.STAPLE([sitk.GetImageFromArray((each == 3).astype(np.uint8)) for each in two], 1.0, 1.0, 100)
    differ = (two != two[0]).any(axis=0)
    found = sitk.GetArrayFromImage(whole)[differ]
    np.testing.assert_array_equal(shares[1][differ] > 0.5, found > 0.5)


def test_volumes_and_one_map(raters: tuple[np.ndarray, np.ndarray]) -> None:
    truth, maps = raters
    for fusion in FUSIONS:
        deep = np.stack([np.stack([each, each]) for each in maps])
        assert fuse(deep, fusion, np.ones(5)).shape == (2, *truth.shape)
        np.testing.assert_array_equal(fuse(maps[3:4], fusion, [0.5]), maps[3])


def test_what_cannot_be_fused(raters: tuple[np.ndarray, np.ndarray]) -> None:
    _, maps = raters
    with pytest.raises(UsageError, match=r"majority, weighted, staple.*Received: fusion='mean'"):
        label_shares(maps, VALUES, "mean")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0 maps"):
        label_shares(maps[:0], VALUES)
    with pytest.raises(AcregError, match=r"Received: labels \[7\] beside \[0, 3\]"):
        label_shares(maps, (0, 3))
    for weights in (None, [1, 2], [1, 2, 3, np.nan, 5]):
        with pytest.raises(UsageError, match="one finite weight a map"):
            label_shares(maps, VALUES, "weighted", weights)
