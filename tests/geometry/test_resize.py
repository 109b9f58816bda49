import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.geometry import resize_displacement, resize_image, resize_labels


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_enlarging_follows_the_half_pixel_rule(rng):
    line = rng.normal(size=9)
    image = np.repeat(line[:, None], 4, axis=1)
    p = np.clip((np.arange(23) + 0.5) * 9 / 23 - 0.5, 0, 8)
    result = resize_image(image, (23, 4))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, np.repeat(np.interp(p, np.arange(9), line)[:, None], 4, axis=1), atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 48), (64, 96), (128, 256), (17, 31)])
def test_mean_is_kept(rng, shape):
    coarse = rng.normal(100, 20, size=(8, 12))
    image = resize_image(coarse, (64, 96))
    assert resize_image(image, shape).mean() == pytest.approx(image.mean(), rel=5e-3)


@pytest.mark.parametrize("size", [20, 50, 100, 200, 333])
def test_a_step_stays_at_its_physical_place(size):
    image = np.zeros((100, 6))
    image[:40] = 1  # the edge lies at 40 % of the extent
    profile = resize_image(image, (size, 6))[:, 0]
    assert profile.sum() / size == pytest.approx(0.4, abs=0.002)
    labels = resize_labels(image.astype(np.int32), (size, 6))[:, 0]
    assert labels.sum() / size == pytest.approx(0.4, abs=0.5 / size)


def test_reducing_averages_instead_of_aliasing():
    stripes = np.tile([0.0, 1.0], 64)[None].repeat(8, axis=0)  # one pixel each
    reduced = resize_image(stripes, (8, 32))
    np.testing.assert_allclose(reduced[:, 1:-1], 0.5, atol=1e-6)


def test_same_size_is_the_same_image(rng):
    image = rng.normal(size=(5, 6, 7)).astype(np.float32)
    np.testing.assert_array_equal(resize_image(image, image.shape), image)
    labels = rng.integers(0, 5, size=(5, 6, 7)).astype(np.int32)
    np.testing.assert_array_equal(resize_labels(labels, labels.shape), labels)


def test_an_image_of_one_voxel_fills_the_new_one():
    np.testing.assert_allclose(resize_image(np.full((1, 1), 7.0), (3, 4)), 7.0)


@pytest.mark.parametrize(("old", "new"), [((40, 30), (64, 64)), ((64, 64), (25, 40)), ((9, 10, 11), (20, 7, 11))])
def test_labels_are_the_arg_max_of_their_resized_indicators(rng, old, new):
    labels = resize_labels(rng.choice([0, 2, 7, 9], size=tuple(n // 4 + 1 for n in old)).astype(np.int32), old)
    values = np.unique(labels)
    shares = np.stack([resize_image((labels == v).astype(float), new) for v in values])
    shares -= 1e-5 * np.arange(len(values)).reshape((-1,) + (1,) * len(new))  # ties go to the lower label
    result = resize_labels(labels, new)
    assert result.dtype == labels.dtype
    assert (result == values[shares.argmax(axis=0)]).mean() > 0.999
    assert set(np.unique(result)) <= set(values)


def test_every_label_survives_a_moderate_change_of_size():
    labels = np.zeros((256, 256), np.int32)
    labels[40:200, 20:100], labels[40:200, 150:230], labels[120:200, 90:170] = 1, 2, 3
    for shape in [(64, 64), (100, 300), (512, 512)]:
        resized = resize_labels(labels, shape)
        assert set(np.unique(resized)) == {0, 1, 2, 3}
        again = resize_labels(resized, labels.shape)
        assert (again == labels).mean() > 0.98


def test_a_line_of_one_pixel_survives_enlarging():
    labels = np.zeros((16, 16), np.int32)
    labels[:, 7] = 1
    assert (resize_labels(labels, (48, 48)).sum(axis=1) == 3).all()


def test_ties_go_to_the_lower_label():
    labels = np.array([[5, 3]] * 2)
    np.testing.assert_array_equal(resize_labels(labels, (2, 1)), [[3], [3]])


def test_a_linear_displacement_stays_linear_and_scales_by_axis():
    old, new = (20, 30), (50, 45)
    matrix, shift = np.array([[0.1, -0.2], [0.05, 0.03]]), np.array([1.5, -2.0])
    u = np.stack(np.meshgrid(*map(np.arange, old), indexing="ij"), -1) @ matrix.T + shift
    result = resize_displacement(u, new)
    factor = np.divide(new, old)
    q = np.stack(np.meshgrid(*map(np.arange, new), indexing="ij"), -1)
    expected = (((q + 0.5) / factor - 0.5) @ matrix.T + shift) * factor
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[3:-3, 3:-3], expected[3:-3, 3:-3], atol=2e-5)


def test_a_constant_displacement_in_3d_scales_by_axis():
    u = np.broadcast_to(np.array([1.0, 2.0, 3.0]), (4, 5, 6, 3))
    result = resize_displacement(u, (8, 5, 3))
    np.testing.assert_allclose(result, np.broadcast_to([2.0, 2.0, 1.5], (8, 5, 3, 3)), rtol=1e-6)


def test_refusals():
    with pytest.raises(AcregError, match="Labels are integers"):
        resize_labels(np.zeros((3, 3)), (2, 2))
    with pytest.raises(AcregError, match="2 numbers of at least 1"):
        resize_image(np.zeros((3, 3)), (2, 2, 2))
    with pytest.raises(AcregError, match="one component an axis"):
        resize_displacement(np.zeros((3, 3, 3)), (2, 2))
