import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import map_coordinates

from acreg.data.sampling.augmentation import Augmentation, sample_linear, sample_nearest, smooth_noise

SHAPES = [(20, 30), (9, 12, 15)]
EVERYTHING = dict(
    gamma=0.4, contrast=0.25, bias_field=0.2, noise=0.03, rotation=0.1, scale=0.1, shear=0.1, shift=0.06, elastic=0.02
)


def blobs(shape, batch=4, seed=0):
    """Smooth images in [0, 1] and the labels that a threshold at one half gives."""
    noise = smooth_noise(np.random.default_rng(seed), (batch,), shape, 4)[..., None]
    images = 1.0 / (1.0 + np.exp(-2.0 * noise))
    return images.astype(np.float32), (images > 0.5).astype(np.int32)


@pytest.mark.parametrize("shape", SHAPES)
def test_samplers_equal_map_coordinates(shape):
    rng = np.random.default_rng(1)
    images = rng.random((3, *shape, 2), dtype=np.float32)
    labels = rng.integers(0, 4, (3, *shape, 1), dtype=np.int32)
    coordinates = rng.uniform(-5, max(shape) + 5, (len(shape), 3, *shape)).astype(np.float32)
    linear, nearest = sample_linear(images, coordinates), sample_nearest(labels, coordinates)
    for sample in range(3):
        at = coordinates[:, sample]
        for channel in range(2):
            expected = map_coordinates(images[sample, ..., channel], at, order=1, mode="nearest")
            np.testing.assert_allclose(linear[sample, ..., channel], expected, atol=1e-5)
        expected = map_coordinates(labels[sample, ..., 0], at, order=0, mode="nearest")
        np.testing.assert_array_equal(nearest[sample, ..., 0], expected)
    assert linear.dtype == np.float32
    assert nearest.dtype == np.int32


def test_an_axis_of_length_one_is_read_as_it_is():
    images = np.arange(6, dtype=np.float32).reshape(1, 1, 6, 1)
    coordinates = np.stack(np.meshgrid([0.0], np.arange(6.0), indexing="ij"))[:, None]
    np.testing.assert_array_equal(sample_linear(images, coordinates), images)


@pytest.mark.parametrize("shape", SHAPES)
def test_smooth_noise_has_standard_deviation_one_everywhere(shape):
    noise = smooth_noise(np.random.default_rng(0), (4000,), shape, 4)
    assert noise.shape == (4000, *shape)
    np.testing.assert_allclose(noise.std(axis=0), 1.0, atol=0.06)
    assert np.abs(np.diff(noise, axis=-1)).mean() < 0.3


def test_with_all_parts_off_nothing_is_touched():
    images, labels = blobs((16, 16))
    result, moved = Augmentation().apply(images, labels, np.random.default_rng(0))
    assert result is images
    assert moved is labels


def test_a_part_that_is_off_draws_nothing():
    rng = np.random.default_rng(0)
    Augmentation(elastic_grid=8).apply(*blobs((16, 16)), rng)
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("shape", SHAPES)
def test_everything_keeps_range_shapes_types_and_arguments(shape):
    images, labels = blobs(shape)
    before = images.copy(), labels.copy()
    result, moved = Augmentation(**EVERYTHING).apply(images, labels, np.random.default_rng(3))
    again, moved_again = Augmentation(**EVERYTHING).apply(images, labels, np.random.default_rng(3))
    assert (result.shape, result.dtype) == (images.shape, np.float32)
    assert (moved.shape, moved.dtype) == (labels.shape, np.int32)
    assert result.min() >= 0.0
    assert result.max() <= 1.0
    np.testing.assert_array_equal(result, again)
    np.testing.assert_array_equal(moved, moved_again)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("shape", [(64, 48), (24, 20, 28)])
def test_labels_move_with_the_image(shape):
    images, labels = blobs(shape)
    geometry = Augmentation(rotation=0.4, scale=0.2, shift=0.1, elastic=0.02)
    result, moved = geometry.apply(images, labels, np.random.default_rng(5))
    clear = np.abs(result - 0.5) > 0.15
    np.testing.assert_array_equal(result[clear] > 0.5, moved[clear])
    assert clear.mean() > 0.6
    assert np.mean(labels == moved) < 0.95


def test_each_sample_has_its_own_draw():
    images = blobs((16, 16), batch=1)[0].repeat(2, 0)
    for name, value in EVERYTHING.items():
        result, _ = Augmentation(**{name: value}).apply(images, None, np.random.default_rng(0))
        assert np.abs(result[0] - result[1]).max() > 1e-3, name


def test_gamma_and_contrast_do_what_they_say():
    images, _ = blobs((32, 32))
    result, _ = Augmentation(gamma=0.5).apply(images, None, np.random.default_rng(0))
    exponent = np.log(result) / np.log(images)
    np.testing.assert_allclose(exponent.std(axis=(1, 2, 3)), 0.0, atol=1e-3)
    assert np.all(np.abs(np.log(exponent)) <= 0.501)
    images = 0.4 + 0.2 * images
    result, _ = Augmentation(contrast=0.5).apply(images, None, np.random.default_rng(0))
    np.testing.assert_allclose(result.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=1e-5)
    ratio = result.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3))
    assert np.all((ratio > 0.49) & (ratio < 1.51))
    assert np.ptp(ratio) > 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_keeps_distances_and_scale_multiplies_them(shape):
    rng = np.random.default_rng(0)
    rank = len(shape)

    def steps(augmentation):
        """Vectors `(axis, rank, batch)` between the places that neighbouring voxels are read from."""
        at = augmentation.coordinates(50, shape, rng)
        return np.stack([np.diff(at, axis=2 + axis).mean(axis=tuple(range(2, 2 + rank))) for axis in range(rank)])

    turned = steps(Augmentation(rotation=0.5))
    gram = np.einsum("ixb,jxb->bij", turned, turned)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(rank), gram.shape), atol=1e-4)
    larger = 1.0 / steps(Augmentation(scale=0.3))[0, 0]
    assert larger.min() >= 0.699
    assert larger.max() <= 1.301
    assert np.ptp(larger) > 0.3


@pytest.mark.parametrize("shape", SHAPES)
def test_shear_slants_each_axis_along_the_later_ones_and_keeps_volume(shape):
    rank, limit = len(shape), 0.3
    at = Augmentation(shear=limit).coordinates(400, shape, np.random.default_rng(0))
    steps = [np.diff(at, axis=2 + axis).mean(axis=tuple(range(2, 2 + rank))) for axis in range(rank)]
    matrix = np.moveaxis(np.stack(steps, axis=1), -1, 0)  # (batch, axis read, axis stepped along)
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0, atol=1e-4)
    np.testing.assert_allclose(matrix * np.tri(rank), np.broadcast_to(np.eye(rank), matrix.shape), atol=1e-4)
    slants = matrix[(slice(None), *np.triu_indices(rank, 1))]
    np.testing.assert_allclose(slants.std(axis=0), limit / np.sqrt(3), rtol=0.1)
    assert 0.29 < np.abs(slants).max() <= limit + 1e-4
    centre = (slice(None), slice(None), *((size - 1) // 2 for size in shape))
    assert np.abs(at[centre] - np.array([(size - 1) // 2 for size in shape])[:, None]).max() <= 0.5 * (1 + 2 * limit)


def test_labels_from_outside_take_the_edge_or_the_background():
    labels = np.full((1, 4, 5, 1), 7, np.int32)
    places = np.meshgrid([-0.51, -0.5, 0.0, 3.5, 3.51], [-3.0, 1.0, 4.4, 4.6], indexing="ij")
    coordinates = np.stack(places)[:, None]
    assert (sample_nearest(labels, coordinates) == 7).all()
    inside = np.outer([0, 1, 1, 1, 0], [0, 1, 1, 0])
    np.testing.assert_array_equal(sample_nearest(labels, coordinates, outside=0)[0, ..., 0], 7 * inside)
    images, edge = np.full((1, 4, 5, 1), 0.5, np.float32), Augmentation(shift=0.5)
    moved, none = edge.apply(images, labels, np.random.default_rng(1), outside=0)
    assert (moved == 0.5).all() and 0 < np.mean(none == 0) < 1
    np.testing.assert_array_equal(edge.apply(images, labels, np.random.default_rng(1))[1], labels)


def test_shift_and_elastic_are_shares_of_the_size():
    shape = (40, 80)
    identity = np.stack(np.meshgrid(np.arange(40), np.arange(80), indexing="ij"))[:, None]
    rng = np.random.default_rng(0)
    moved = Augmentation(shift=0.1).coordinates(400, shape, rng) - identity
    np.testing.assert_allclose(np.abs(moved).max(axis=(1, 2, 3)), [4.0, 8.0], rtol=0.05)
    bent = Augmentation(elastic=0.02).coordinates(400, shape, rng) - identity
    np.testing.assert_allclose(bent.std(axis=(1, 2, 3)), [0.8, 1.6], rtol=0.1)


@pytest.mark.parametrize("wrong", [{"gamma": -0.1}, {"scale": 1.0}, {"elastic_grid": 1}, {"rotation": "left"}])
def test_values_outside_their_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Augmentation(**wrong)


def test_unknown_names_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Augmentation(brightness=0.1)


def test_a_rotation_about_the_first_axis_leaves_it():
    made = Augmentation(rotation=(np.pi, 0.0, 0.0)).coordinates(20, (6, 8, 8), np.random.default_rng(0))
    first = np.broadcast_to(np.arange(6).reshape(1, 6, 1, 1), made.shape[1:])
    np.testing.assert_allclose(made[0], first, atol=1e-5)
    angle = np.arctan2(np.diff(made[2], axis=2)[:, 0, 0, 0], np.diff(made[1], axis=2)[:, 0, 0, 0])
    assert np.ptp(angle) > 3
    with pytest.raises(ValueError, match="for volumes. Received: .* of rank 2. Give one number"):
        Augmentation(rotation=(1.0, 0.0, 0.0)).coordinates(1, (8, 8), np.random.default_rng(0))


def test_inverted_images_are_a_share():
    images = np.random.default_rng(0).random((400, 4, 4, 1)).astype(np.float32)
    made = Augmentation(invert=0.3).change_intensity(images, np.random.default_rng(1))
    inverted = np.isclose(made, 1 - images).all(axis=(1, 2, 3))
    assert np.isclose(made, images).all(axis=(1, 2, 3)).sum() == 400 - inverted.sum()
    assert 0.2 < inverted.mean() < 0.4
