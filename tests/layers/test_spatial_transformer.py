import keras
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from acreg.layers import SpatialTransformer

SHAPES = [(9, 13), (6, 7, 8)]


def draw(shape, channels=3, batch=2, spread=3.0, seed=0):
    """An image and a displacement that leaves it on all sides."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(batch, *shape, channels)).astype(np.float32)
    return image, rng.normal(scale=spread, size=(batch, *shape, len(shape))).astype(np.float32)


def scipy_warp(image, displacement, order, mode="nearest"):
    """Sample by sample, channel by channel."""
    result = np.empty((*displacement.shape[:-1], image.shape[-1]), image.dtype)
    for b, u in enumerate(displacement):
        points = np.indices(u.shape[:-1]) + np.moveaxis(u, -1, 0).astype(np.float64)
        for c in range(image.shape[-1]):
            result[b, ..., c] = ndimage.map_coordinates(image[b, ..., c], points, order=order, mode=mode)
    return result


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1), ("nearest", 0)])
def test_equals_scipy(shape, interpolation, order):
    image, u = draw(shape)
    warped = SpatialTransformer(interpolation)(image, u)
    np.testing.assert_allclose(warped, scipy_warp(image, u, order), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1), ("nearest", 0)])
def test_constant_border_is_an_image_in_an_endless_frame_of_the_fill_value(shape, interpolation, order):
    image, u = draw(shape)
    margin = int(np.abs(u).max()) + 3
    frame = [(0, 0), *[(margin, margin)] * len(shape), (0, 0)]
    framed = np.pad(image, frame, constant_values=-7.0)
    still = np.pad(u, frame)
    inner = (slice(None), *[slice(margin, -margin)] * len(shape))
    warped = SpatialTransformer(interpolation, border="constant", fill_value=-7.0)(image, u)
    expected = scipy_warp(framed, still, order)[inner]
    assert (expected == -7.0).mean() > 0.1
    np.testing.assert_allclose(warped, expected, atol=1e-5)


def test_equals_simpleitk_on_a_rotated_anisotropic_grid():
    shape, spacing = (10, 12, 14), np.array([3.0, 0.7, 1.2])  # z, y, x
    image, u = draw(shape, channels=1, batch=1, spread=2.0)
    direction = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]

    def as_itk(array, vector=False):
        result = sitk.GetImageFromArray(array.astype(np.float64), isVector=vector)
        result.SetSpacing(spacing[::-1].tolist())
        result.SetOrigin([1e2, -5.0, 30.0])
        result.SetDirection(direction.ravel().tolist())
        return result

    millimetres = (u[0].astype(np.float64) * spacing)[..., ::-1] @ direction.T
    transform = sitk.DisplacementFieldTransform(as_itk(millimetres, vector=True))
    moving = as_itk(image[0, ..., 0])
    expected = sitk.GetArrayFromImage(sitk.Resample(moving, moving, transform, sitk.sitkLinear, np.nan))
    # SimpleITK's image ends half a voxel beyond its outer voxels.
    positions = np.indices(shape) + np.moveaxis(u[0], -1, 0)
    last = np.reshape(shape, (3, 1, 1, 1)) - 1
    inside = ((positions > -0.49) & (positions < last + 0.49)).all(axis=0)
    assert inside.mean() > 0.4
    error = np.abs(np.asarray(SpatialTransformer()(image, u))[0, ..., 0] - expected)
    assert error[inside].max() < 1e-5


def test_result_lies_on_the_grid_of_the_displacement():
    image = np.arange(30, dtype=np.float32).reshape(1, 5, 6, 1)
    warped = SpatialTransformer()(image, np.ones((1, 2, 3, 2), np.float32))
    np.testing.assert_array_equal(warped[0, ..., 0], image[0, 1:3, 1:4, 0])


@pytest.mark.parametrize("seed", range(3))
def test_a_landmark_lands_where_the_warped_image_shows_it(smooth_field, identity, seed):
    u = smooth_field((40, 40), amplitude=4.0, seed=seed)
    fixed_point = (17, 23)
    moving_point = np.array(fixed_point) + u[(0, *fixed_point)]
    spot = np.exp(-np.sum((identity((40, 40)) - moving_point) ** 2, axis=-1) / 8)
    warped = np.asarray(SpatialTransformer()(spot[None, ..., None], u))[0, ..., 0]
    assert np.unravel_index(warped.argmax(), warped.shape) == fixed_point


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", ["edge", "constant"])
def test_gradient_of_the_displacement_is_that_of_finite_differences(gradient, shape, border):
    image, u = draw(shape)
    # Between two voxels the result is linear along each axis: steps that stay between them are exact.
    u = np.floor(u) + np.random.default_rng(1).uniform(0.1, 0.9, u.shape).astype(np.float32)
    weights = np.random.default_rng(2).normal(size=image.shape).astype(np.float32)
    layer = SpatialTransformer(border=border)
    result = gradient(lambda x: weights * layer(image, x), u)
    assert np.abs(result).max() > 1
    for axis in range(len(shape)):
        step = np.zeros(len(shape), np.float32)
        step[axis] = 0.05
        difference = np.asarray(layer(image, u + step)) - np.asarray(layer(image, u - step))
        np.testing.assert_allclose(result[..., axis], np.sum(weights * difference, -1) / 0.1, atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_the_image_is_that_of_finite_differences(gradient, shape):
    image, u = draw(shape)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=image.shape).astype(np.float32)
    result = gradient(lambda x: weights * SpatialTransformer()(x, u), image)
    for _ in range(5):  # the result is linear in the image, so that a long step is exact
        step = rng.normal(size=image.shape).astype(np.float32)
        change = np.asarray(SpatialTransformer()(image + step, u)) - np.asarray(SpatialTransformer()(image, u))
        assert np.sum(weights * change) == pytest.approx(np.sum(result * step), abs=1e-2)


def test_nearest_has_no_gradient_of_the_displacement(gradient):
    image, u = draw((9, 13))
    assert not gradient(lambda x: SpatialTransformer("nearest")(image, x), u).any()


def test_nearest_keeps_integers_and_linear_makes_them_float32():
    labels = np.array([0, 3, 8], np.int32).reshape(1, 1, 3, 1)
    u = np.broadcast_to(np.float32([0, 0.25]), (1, 1, 3, 2))
    nearest = SpatialTransformer("nearest")(labels, u)
    assert keras.backend.standardize_dtype(nearest.dtype) == "int32"
    np.testing.assert_array_equal(nearest, labels)
    linear = SpatialTransformer()(labels, u)
    assert keras.backend.standardize_dtype(linear.dtype) == "float32"
    np.testing.assert_allclose(np.ravel(linear), [0.75, 4.25, 8])


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_a_position_that_is_not_a_number_spoils_only_its_own_voxel(interpolation):
    image, u = draw((5, 6), channels=1, batch=1, spread=0.0)
    u[0, 2, 3, 0] = np.nan
    warped = np.asarray(SpatialTransformer(interpolation)(image, u))
    elsewhere = np.ones((5, 6), bool)
    elsewhere[2, 3] = False
    np.testing.assert_array_equal(warped[0, elsewhere], image[0, elsewhere])


def test_errors():
    image, u = draw((9, 13))
    with pytest.raises(ValueError, match="must be one of .*Received: interpolation='cubic'"):
        SpatialTransformer("cubic")
    with pytest.raises(ValueError, match="must be one of .*Received: border='wrap'"):
        SpatialTransformer(border="wrap")
    with pytest.raises(ValueError, match="same number of spatial axes"):
        SpatialTransformer()(image[..., None], u)
    with pytest.raises(ValueError, match="same batch size"):
        SpatialTransformer()(image[:1], u)
    with pytest.raises(ValueError, match="as many components"):
        SpatialTransformer()(image, u[..., :1])
    with pytest.raises(ValueError, match="as many components"):  # also when a graph is built
        SpatialTransformer()(keras.Input((9, 13, 3)), keras.Input((9, 13, 3)))
