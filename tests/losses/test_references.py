"""Against what the AC-RegNet authors' program computed."""

import numpy as np
import pytest

from acreg.layers import functional
from acreg.losses import cross_entropy, ncc, total_variation_sum


@pytest.fixture(scope="module")
def acregnet(reference_dir):
    return np.load(reference_dir / "acregnet_tf1" / "io64.npz")


@pytest.fixture(scope="module")
def values(acregnet):
    """The mean of each loss over four pairs."""
    return dict(zip(acregnet["loss_names"].tolist(), acregnet["losses"]))


def scaled(image):
    return image[..., None] / np.float32(255)


def test_the_warp(acregnet):
    np.testing.assert_allclose(
        functional.warp(scaled(acregnet["moving"]), acregnet["field"]), acregnet["warped"], atol=2e-5
    )
    one_hot = np.eye(4, dtype=np.float32)[acregnet["moving_label"]]
    np.testing.assert_allclose(functional.warp(one_hot, acregnet["field"]), acregnet["warped_onehot"], atol=2e-5)


def test_ncc(acregnet, values):
    result = 1 - np.mean(ncc(scaled(acregnet["fixed"]), acregnet["warped"]))
    # The original has sqrt(E[x^2] - E[x]^2) in float32, which costs it the sixth digit.
    assert result == pytest.approx(values["ncc"], abs=2e-5)


def test_total_variation(acregnet, values):
    assert np.mean(total_variation_sum(acregnet["field"])) == pytest.approx(values["tv"], rel=1e-6)


def test_squared_distance_of_codes(acregnet, values):
    distance = np.sum((acregnet["ae_code_warped"] - acregnet["ae_code_fixed"]) ** 2, axis=-1)
    assert distance.mean() == pytest.approx(values["l2codes"], rel=1e-5)


def test_cross_entropy_is_not_the_originals(acregnet, values):
    """It takes probabilities for logits: never below log(1 + 3 / e) = 0.7437, even for the fixed labels themselves."""
    fixed = np.eye(4, dtype=np.float32)[acregnet["fixed_label"]]
    logits = acregnet["warped_onehot"]
    original = np.log(np.exp(logits).sum(-1)) - np.sum(fixed * logits, axis=-1)
    assert original.mean() == pytest.approx(values["ce"], rel=3e-5)
    assert np.mean(cross_entropy(fixed, logits)) < 0.743 < original.min()
    np.testing.assert_allclose(cross_entropy(fixed, fixed), np.zeros(4), atol=1e-6)
