"""Laws of the standard intensities, on images whose histograms differ in scale, offset and shape."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from acreg.errors import AcregError
from acreg.io import Image, Preprocessing
from acreg.io.histogram import FOREGROUND, LANDMARKS, landmarks_of, mean_landmarks, standardise


def head(seed: int, gamma: float = 1.0) -> np.ndarray:
    """A ball of smooth texture in air, float32 `(24, 26, 22)`; `gamma` bends its intensities, as another coil would."""
    rng, shape = np.random.default_rng(seed), (24, 26, 22)
    at = np.stack(np.indices(shape), -1) - (np.array(shape) - 1) / 2
    texture = gaussian_filter(rng.standard_normal(shape), 1.5)
    texture = (texture - texture.min()) / np.ptp(texture)
    inside = np.linalg.norm(at, axis=-1) < 9
    return (900 * (0.3 + 0.7 * texture) ** gamma * inside).astype(np.float32)


STANDARD = mean_landmarks([head(seed, gamma) for seed, gamma in enumerate((0.6, 1.0, 1.5))])


def test_landmarks_ascend_from_zero_to_one():
    assert len(STANDARD) == LANDMARKS and STANDARD[0] == 0 and STANDARD[-1] == 1
    assert np.all(np.diff(STANDARD) > 0)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(1e-3, 1e4), offset=st.floats(-1e3, 1e3), seed=st.integers(0, 5), gamma=st.sampled_from([0.5, 1, 2])
)
def test_scale_and_offset_change_nothing(scale, offset, seed, gamma):
    image = head(seed, gamma).astype(np.float64)
    expected = standardise(image, STANDARD)
    np.testing.assert_allclose(standardise(scale * image + scale * offset, STANDARD), expected, atol=1e-4)
    assert expected.dtype == np.float32 and expected.min() == 0 and expected.max() == 1


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_brighter_voxel_stays_as_bright_or_brighter(gamma):
    image = head(7, gamma)
    order = np.argsort(image, axis=None)
    assert np.all(np.diff(standardise(image, STANDARD).ravel()[order]) >= 0)


def test_landmarks_land_on_the_standard_and_images_become_alike():
    gammas = (0.5, 1.0, 2.0)
    before = [(landmarks_of(head(8, g)) / landmarks_of(head(8, g))[-1])[1:-1] for g in gammas]
    after = [standardise(head(8, g), STANDARD) for g in gammas]
    for gamma, image in zip(gammas, after, strict=True):
        foreground = head(8, gamma) > head(8, gamma).mean()
        np.testing.assert_allclose(np.percentile(image[foreground], FOREGROUND), STANDARD[1:], atol=1e-3)
    assert np.ptp(before, axis=0).max() > 0.25
    assert np.abs(after[0] - after[2]).mean() < 0.01


def test_with_its_own_landmarks_an_image_is_only_scaled():
    image = head(3)
    low, high = np.percentile(image, 0.5), np.percentile(image[image > image.mean()], 99.5)
    expected = (np.clip(image, low, high) - low) / (high - low)
    np.testing.assert_allclose(standardise(image, mean_landmarks([image])), expected, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 7.0, -3e5])
def test_a_constant_image_becomes_zeros_and_teaches_nothing(value):
    constant = np.full((6, 6), value, np.float32)
    assert not standardise(constant, STANDARD).any()
    assert mean_landmarks([constant, head(0)]) == mean_landmarks([head(0)])
    with pytest.raises(AcregError, match="more than one value. Received: all images are constant"):
        Preprocessing(shape=(4, 4)).with_landmarks([Image.from_array(constant)])


def test_images_of_few_values_stay_in_range():
    for image in (np.eye(8), np.tile([0, 0, 1, 2], (4, 3))):
        result = standardise(image, STANDARD)
        assert result.min() == 0 and result.max() == 1
        assert len(np.unique(result)) == len(np.unique(image))


def test_one_image_needs_no_other_at_use(tmp_path):
    plain = Preprocessing(shape=(20, 20, 20), intensity="histogram")
    learned = plain.with_landmarks(Image.from_array(head(seed)) for seed in range(3))
    grids = [plain.grid(Image.from_array(head(seed))) for seed in range(3)]
    assert learned.grid(Image.from_array(head(0))) == grids[0]
    learned.to_json(tmp_path / "preprocessing.json")
    again = Preprocessing.from_json(tmp_path / "preprocessing.json")
    assert again == learned and len(again.landmarks) == LANDMARKS
    image = Image.from_array(head(9, 2.0))
    result = again.apply(image)
    np.testing.assert_array_equal(result, learned.apply(image))
    foreground = result[result > np.median(result)]
    assert result.shape == (20, 20, 20, 1) and result.min() == 0 and result.max() == 1 and 0.2 < foreground.mean() < 0.9
    np.testing.assert_allclose(again.apply(Image.from_array(3.0 * head(9, 2.0) - 50)), result, atol=1e-4)


def test_missing_landmarks_are_one_clear_error():
    image = Image.from_array(head(0))
    with pytest.raises(AcregError, match="Received: intensity histogram without landmarks. `acreg train` learns them"):
        Preprocessing(shape=(8, 8, 8), intensity="histogram").apply(image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intensity": "minmax"}, "landmarks belong to the intensity histogram"),
        ({"landmarks": [0, 0.5, 1]}, "landmarks must be 11 ascending numbers"),
        ({"landmarks": [0, *np.linspace(0.9, 0.1, 9), 1]}, "landmarks must be 11 ascending numbers"),
        ({"landmarks": list(np.linspace(0.1, 1, 11))}, "the first 0 and the last 1"),
        ({"window": [0, 9]}, "a window scales by its own bounds"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, change, message):
    path = tmp_path / "preprocessing.json"
    path.write_text(json.dumps({"shape": [8, 8], "intensity": "histogram", "landmarks": STANDARD} | change))
    with pytest.raises(AcregError, match=message):
        Preprocessing.from_json(path)
