import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.geometry import Grid, inside, respaced, sample_cubic, sample_nearest

TILT = ((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8))
GRID = Grid((12, 14, 16), (3.0, 1.2, 0.7), (1e5, -20.0, 7.0), TILT)


def indices(grid):
    return np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (3, 2, 5), (0.7, 1.2, 100), (2.9, 1.3, 0.7)])
def test_a_new_spacing_covers_the_extent_around_the_same_middle(spacing):
    new = respaced(GRID, spacing)
    assert new.spacing == spacing and new.direction == GRID.direction
    old_extent, extent = np.multiply(GRID.shape, GRID.spacing), np.multiply(new.shape, new.spacing)
    assert (extent > old_extent - 1e-3 * np.array(spacing)).all()
    assert (extent < old_extent + spacing).all()
    middles = [grid.to_world((np.array(grid.shape) - 1) / 2) for grid in (GRID, new)]
    np.testing.assert_allclose(middles[0], middles[1], rtol=0, atol=1e-9)


def test_halving_the_spacing_keeps_the_corner_of_the_extent():
    new = respaced(Grid((5, 6), (2, 2), (10, 20)), (1, 1))
    assert new == Grid((10, 12), (1, 1), (9.5, 19.5))


def test_a_spacing_that_is_there_within_rounding_changes_nothing():
    grid = Grid((256, 256), (0.99999994, 1.0000001), (3, 4))
    new = respaced(grid, (1, 1))
    assert (new.shape, new.spacing) == (grid.shape, grid.spacing)
    np.testing.assert_allclose(new.origin, grid.origin, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, -1), (1, 1, np.nan)])
def test_a_spacing_that_is_none(spacing):
    with pytest.raises(AcregError, match="3 positive numbers, mm by axis"):
        respaced(GRID, spacing)


def test_cubic_polynomials_of_the_world_position_are_reproduced():
    onto = respaced(GRID, (1.1, 0.9, 0.6))

    def polynomial(grid):
        x = (grid.to_world(indices(grid)) - GRID.origin) / 10
        return x[..., 0] ** 3 - x[..., 1] ** 2 * x[..., 2] + x[..., 2]

    sampled = sample_cubic(polynomial(GRID).astype(np.float32), GRID, onto)
    places = GRID.to_index(onto.to_world(indices(onto)))
    inner = ((places >= 4) & (places <= np.array(GRID.shape) - 5)).all(axis=-1)  # the edge value reaches so far
    assert inner.sum() > 500
    span = np.ptp(polynomial(GRID))
    np.testing.assert_allclose(sampled[inner], polynomial(onto)[inner], rtol=0, atol=2e-3 * span)


def test_cubic_equals_itks_splines_within_the_image():
    grid = Grid((22, 24, 26), GRID.spacing, GRID.origin, GRID.direction)
    array = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    onto = respaced(grid, (1.5, 0.8, 0.65))
    image = sitk.GetImageFromArray(array)
    grid.copy_to_itk(image)
    target = sitk.GetImageFromArray(np.zeros(onto.shape, np.float32))
    onto.copy_to_itk(target)
    expected = sitk.GetArrayFromImage(sitk.Resample(image, target, sitk.Transform(), sitk.sitkBSpline3))
    inner = (slice(12, -12), slice(12, -12), slice(10, -10))  # ITK mirrors at the border
    clamped = np.clip(expected, array.min(), array.max())[inner]
    assert clamped.size > 200
    np.testing.assert_allclose(sample_cubic(array, grid, onto)[inner], clamped, rtol=0, atol=1e-3)


def test_overshoot_is_clamped_to_the_images_own_range():
    image = np.zeros((8, 8), np.float32)
    image[:, 4:] = 5
    sampled = sample_cubic(image, Grid((8, 8)), respaced(Grid((8, 8)), (0.3, 0.3)))
    assert sampled.min() == 0 and sampled.max() == 5


def test_what_the_new_voxels_cannot_show_is_averaged():
    stripes = np.tile(np.array([0, 1], np.float32), (32, 16))
    grid = Grid(stripes.shape)
    sampled = sample_cubic(stripes, grid, respaced(grid, (1, 4)))
    assert sampled.shape == (32, 8)
    np.testing.assert_allclose(sampled[:, 2:-2], 0.5, atol=0.01)
    rows = sample_cubic(stripes.T, grid, respaced(grid, (1, 4)))  # the axis of the stripes keeps its spacing
    np.testing.assert_allclose(rows, stripes.T[:, :8], atol=1e-5)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (5, 2.3, 1.9)])
def test_nearest_is_the_voxel_at_the_least_distance(spacing):
    labels = np.random.default_rng(1).integers(0, 200, GRID.shape).astype(np.uint8)
    onto = respaced(GRID, spacing)
    sampled = sample_nearest(labels, GRID, onto)
    assert sampled.shape == onto.shape and sampled.dtype == np.uint8
    centres = GRID.to_world(indices(GRID)).reshape(-1, 3) - GRID.origin
    for place in np.random.default_rng(2).integers(0, onto.shape, (50, 3)):
        apart = np.linalg.norm(centres - (onto.to_world(place) - GRID.origin), axis=1)
        nearest = labels.ravel()[apart < apart.min() + 1e-6]
        assert sampled[tuple(place)] in nearest


def test_grids_that_share_their_voxels_are_copied():
    array = np.random.default_rng(3).normal(size=GRID.shape).astype(np.float32)
    part = GRID.part((2, 3, 4), (5, 6, 7))
    np.testing.assert_array_equal(sample_cubic(array, GRID, part), array[2:7, 3:9, 4:11])
    np.testing.assert_array_equal(sample_nearest(array, GRID, part), array[2:7, 3:9, 4:11])


def test_another_direction_equals_itks_splines_within_the_image():
    array = np.random.default_rng(4).normal(size=(24, 26, 28)).astype(np.float32)
    grid = Grid(array.shape, (1.0, 1.0, 1.0), GRID.origin, TILT)  # isotropic: a turn alone smooths nothing
    onto = Grid(
        (5, 6, 7),
        (1.0, 1.0, 1.0),
        tuple(grid.to_world((9.317, 10.171, 11.233))),
        ((0.8, -0.6, 0), (0.6, 0.8, 0), (0, 0, 1)),
    )
    image, target = sitk.GetImageFromArray(array), sitk.GetImageFromArray(np.zeros(onto.shape, np.float32))
    grid.copy_to_itk(image)
    onto.copy_to_itk(target)
    expected = sitk.GetArrayFromImage(sitk.Resample(image, target, sitk.Transform(), sitk.sitkBSpline3))
    clamped = np.clip(expected, array.min(), array.max())
    np.testing.assert_allclose(sample_cubic(array, grid, onto), clamped, rtol=0, atol=1e-3)
    values = np.arange(array.size).reshape(array.shape)
    numbers = sitk.GetImageFromArray(values)
    grid.copy_to_itk(numbers)
    nearest = sitk.Resample(numbers, target, sitk.Transform(), sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(sample_nearest(values, grid, onto), sitk.GetArrayFromImage(nearest))


def test_a_quarter_turn_copies_voxels_into_another_order():
    array = np.random.default_rng(5).normal(size=(6, 7)).astype(np.float32)
    onto = Grid((7, 6), origin=(5, 0), direction=((0, -1), (1, 0)))
    turned = np.rot90(array, k=-1)
    np.testing.assert_allclose(sample_cubic(array, Grid((6, 7)), onto), turned, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(sample_nearest(array, Grid((6, 7)), onto), turned)


def test_a_thick_voxel_that_is_tilted_averages_in_the_plane():
    stripes = np.tile(np.array([0, 1], np.float32), (20, 40, 20))
    grid = Grid(stripes.shape, (8.0, 1.0, 1.0))
    tilt = ((0.8, 0, -0.6), (0, 1, 0), (0.6, 0, 0.8))
    onto = Grid((4, 4, 4), (8.0, 1.0, 1.0), tuple(grid.to_world((9.1, 15.0, 18.0))), tilt)
    np.testing.assert_allclose(sample_cubic(stripes, grid, onto), 0.5, atol=0.01)


def test_what_lies_inside_of_an_extent():
    onto = GRID.part((-2, 3, 4), (20, 20, 6))
    expected = np.zeros(onto.shape, bool)
    expected[2:14, :11] = True
    np.testing.assert_array_equal(inside(GRID, onto), expected)
    turned = Grid((20, 20, 20), (2.5, 1.5, 1.5), GRID.origin)
    np.testing.assert_array_equal(inside(GRID, turned), GRID.contains(GRID.to_index(turned.to_world(indices(turned)))))


def test_another_number_of_axes_is_refused():
    for sample in (sample_cubic, sample_nearest):
        with pytest.raises(AcregError, match="one number of axes"):
            sample(np.zeros(GRID.shape, np.uint8), GRID, Grid((4, 4)))
