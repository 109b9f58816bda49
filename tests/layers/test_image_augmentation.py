"""Random changes in the graph, against `acreg.data.Augmentation`'s parts in NumPy with the same parameters."""

from __future__ import annotations

from itertools import combinations

import keras
import numpy as np
import pytest

from acreg.data.sampling.augmentation import Augmentation, sample_linear, sample_nearest, smooth_basis
from acreg.layers import ImageAugmentation

SHAPES = [(20, 16), (8, 12, 10)]
GEOMETRY = {"rotation": 0.4, "shear": 0.2, "scale": 0.2, "shift": 0.1, "elastic": 0.03}
INTENSITY = {"gamma": 0.5, "contrast": 0.4, "bias_field": 0.3, "noise": 0.1, "invert": 0.5}


def batch(shape, count=3):
    rng = np.random.default_rng(0)
    return rng.random((count, *shape, 1)).astype(np.float32), rng.integers(0, 4, (count, *shape, 1), dtype=np.int32)


def smooth(values, shape):
    for axis, size in enumerate(shape):
        values = np.moveaxis(np.moveaxis(values, 2 + axis, -1) @ smooth_basis(size, 4).T, -1, 2 + axis)
    return values


def coordinates(drawn, shape):
    """Where the voxels are sampled, by the formula in the layer's docstring: (rank, batch, *shape)."""
    rank = len(shape)
    count = len(drawn["scale"])
    found = []
    for n in range(count):
        matrix = np.eye(rank)
        for k, (a, b) in enumerate(combinations(range(rank), 2)):
            turn = np.eye(rank)
            turn[[a, b], [a, b]] = np.cos(drawn["rotation"][n, k])
            turn[a, b], turn[b, a] = -np.sin(drawn["rotation"][n, k]), np.sin(drawn["rotation"][n, k])
            matrix = turn @ matrix
        slant = np.eye(rank)
        for k, (a, b) in enumerate(combinations(range(rank), 2)):
            slant[a, b] = drawn["shear"][n, k]
        matrix = matrix @ slant / (1 + drawn["scale"][n])
        centre = (np.array(shape) - 1) / 2
        points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        moved = (points - centre) @ matrix.T + centre - drawn["shift"][n] * shape
        found.append(np.moveaxis(moved, -1, 0))
    elastic = smooth(drawn["elastic"], shape) * GEOMETRY["elastic"] * np.reshape(shape, (-1, *(1,) * rank))
    return np.stack(found, 1) + np.moveaxis(elastic, 1, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_geometry_equals_numpys(shape):
    images, labels = batch(shape)
    layer = ImageAugmentation(**GEOMETRY, seed=0)
    drawn = layer.draw(images)
    found, moved = layer.apply_parameters(images, labels, drawn)
    at = coordinates({name: np.asarray(value) for name, value in drawn.items()}, shape)
    np.testing.assert_allclose(found, sample_linear(images, at), atol=2e-4)
    assert (np.asarray(moved) == sample_nearest(labels, at)).mean() > 0.998  # points half way between two voxels
    limits = {"rotation": 0.4, "shear": 0.2, "scale": 0.2, "shift": 0.1}
    assert all(0 < np.abs(drawn[name]).max() <= limit for name, limit in limits.items())


@pytest.mark.parametrize("shape", SHAPES)
def test_intensity_equals_numpys(shape):
    images, labels = batch(shape)
    layer = ImageAugmentation(**INTENSITY, seed=1)
    drawn = {name: np.asarray(value) for name, value in layer.draw(images).items()}
    found, same = layer.apply_parameters(images, labels, drawn)
    each = (-1, *(1,) * (len(shape) + 1))
    expected = images ** np.exp(drawn["gamma"].reshape(each))
    mean = expected.mean(axis=tuple(range(1, expected.ndim)), keepdims=True)
    expected = mean + (expected - mean) * (1 + drawn["contrast"].reshape(each))
    expected = expected * np.exp(0.3 * smooth(drawn["bias_field"][:, None], shape)[:, 0])[..., None]
    expected = np.clip(expected + drawn["noise"], 0, 1)
    expected = np.where(drawn["invert"].reshape(each) > 0, 1 - expected, expected)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(same, labels)


def test_draws_have_the_spread_of_numpys():
    images = np.full((600, 6, 6, 1), 0.5, np.float32)
    limits = {"gamma": 0.5, "contrast": 0.0, "noise": 0.1}
    found = np.asarray(ImageAugmentation(**limits, seed=0)(images))
    expected = Augmentation(**limits).change_intensity(images, np.random.default_rng(0))
    assert found.mean() == pytest.approx(expected.mean(), abs=0.02)
    assert found.std(axis=(1, 2, 3)).mean() == pytest.approx(expected.std(axis=(1, 2, 3)).mean(), rel=0.1)


def test_each_image_of_a_pair_is_changed_in_its_own_way_and_inference_changes_nothing():
    images, labels = batch((12, 12))
    pair = {"moving": images, "fixed": images, "moving_labels": labels, "fixed_labels": labels, "spacing": images[:, 0]}
    layer = ImageAugmentation(rotation=0.3, gamma=0.3, seed=0)
    found = layer(pair)
    assert set(found) == set(pair) and np.abs(found["moving"] - found["fixed"]).max() > 0.1
    assert (np.asarray(found["moving_labels"]) != labels).any()
    still = layer(pair, training=False)
    for name, value in pair.items():
        np.testing.assert_array_equal(still[name], value)


def test_bytes_travel_and_become_shares():
    whole = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    np.testing.assert_allclose(ImageAugmentation()(whole), whole / 255.0, atol=1e-6)


def test_in_a_sequential_model_and_from_its_config():
    images, _ = batch((12, 12))
    layer = ImageAugmentation(**GEOMETRY, **INTENSITY, outside=0, seed=3)
    again = ImageAugmentation.from_config(layer.get_config())
    chain = keras.Sequential([keras.Input((12, 12, 1)), again])
    np.testing.assert_array_equal(chain.predict(images, verbose=0), images)
    np.testing.assert_allclose(chain(images, training=True), layer(images), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "inputs", "text"),
    [
        (lambda: ImageAugmentation(gamma=-1), None, "`gamma` must be a number of at least 0"),
        (
            lambda: ImageAugmentation(rotation=(1.0, 0.0, 0.0)),
            np.zeros((1, 8, 8, 1)),
            "one number for images of rank 2",
        ),
        (ImageAugmentation, {"labels": np.zeros((1, 8, 8, 1), int)}, "changes image, moving, fixed.*Received: "),
        (
            lambda: ImageAugmentation(shift=0.1),
            {name: np.zeros((1, 8, 8, 1)) for name in ("moving", "fixed", "velocity")},
            "would not be that of the changed images",
        ),
        (ImageAugmentation, np.zeros((1, 8, 1)), "with 2 or 3 sizes"),
    ],
)
def test_wrong_use(make, inputs, text):
    with pytest.raises(ValueError, match=text):
        make()(inputs)
