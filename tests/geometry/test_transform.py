import time

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError, UsageError
from acreg.geometry import (
    Affine,
    Displacement,
    Grid,
    Transform,
    Velocity,
    resize_displacement,
    resize_image,
    resize_labels,
    warp_array,
)
from acreg.geometry import displacement as displacement_module
from acreg.io import Image


def smooth(shape, scale, seed=0):
    rng = np.random.default_rng(seed)
    rank = len(shape)
    coarse = rng.normal(size=(*(4,) * rank, rank))
    return resize_displacement(coarse, shape) * scale


def rotation(angles):
    """A direction in 3-D, from angles about each axis."""
    return Rotation.from_euler("xyz", angles).as_matrix()


def blocks(shape, values, seed=0):
    rng = np.random.default_rng(seed)
    return resize_labels(rng.choice(values, size=tuple(max(2, n // 5) for n in shape)).astype(np.int32), shape)


def outside_extent(u):
    """Where `p + u(p)` is more than half a voxel beyond the outermost centres."""
    points = np.moveaxis(u, -1, 0) + np.indices(u.shape[:-1])
    return np.any([(p < -0.5) | (p > n - 0.5) for p, n in zip(points, u.shape)], axis=0)


@pytest.mark.parametrize("shape", [(40, 50), (12, 14, 16)])
@pytest.mark.parametrize("slab", [100, 1 << 19])
def test_labels_are_the_arg_max_of_warped_indicators(shape, slab, monkeypatch):
    monkeypatch.setattr(displacement_module, "SLAB_VOXELS", slab)
    grid = Grid(shape, (1.2,) * len(shape), (1e5,) * len(shape))
    values = [0, 1, 4, 30]
    labels = blocks(shape, values)
    u = smooth(shape, 0.3)
    warped = Transform.between_extents(grid, grid, u).warp_labels(Image(labels, grid, "labels"))
    shares = np.stack([warp_array((labels == v).astype(float), u) for v in values])
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    outside = outside_extent(u)
    assert clear.mean() > 0.9 and 0 < outside.mean() < 0.5
    expected = np.where(outside, 0, np.array(values)[shares.argmax(axis=0)])
    np.testing.assert_array_equal(warped.array[clear], expected[clear])
    assert warped.kind == "labels" and warped.grid == grid and warped.array.dtype == np.int32


def test_ties_go_to_the_lower_label():
    grid = Grid((2, 4))
    labels = Image(np.array([[7, 2, 7, 2]] * 2), grid, "labels")
    half = Transform.between_extents(grid, grid, np.broadcast_to([0.0, 0.5], (2, 4, 2)))
    expected = [[2, 2, 2, 0]] * 2  # the last looks at the upper border, which is not of the extent
    np.testing.assert_array_equal(half.warp_labels(labels).array, expected)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_labels_that_touch_the_border_end_there(interpolation):
    """An organ that the image cuts off is not drawn on beyond it: ITK's rule for labels, not the images' edge value."""
    grid = Grid((6, 8))
    labels = Image(np.full((6, 8), 3), grid, "labels")
    shifted = Transform.between_extents(grid, grid, np.broadcast_to([2.4, 0.0], (6, 8, 2)))
    expected = np.where(np.arange(6)[:, None] + 2.4 <= 5.5, 3, 0) * np.ones((6, 8), int)
    np.testing.assert_array_equal(shifted.warp_labels(labels, interpolation).array, expected)
    half_voxel = Transform.between_extents(Grid((12, 16)), grid, np.zeros((12, 16, 2)))
    np.testing.assert_array_equal(half_voxel.warp_labels(labels, interpolation).array, np.full((12, 16), 3))


def test_linear_beats_nearest_at_the_tip_of_a_thin_diagonal_but_both_keep_the_label_set():
    grid = Grid((30, 30))
    labels = Image(np.eye(30, dtype=np.int32) * 5, grid, "labels")
    transform = Transform.between_extents(grid, grid, smooth((30, 30), 0.5))
    for interpolation in ("linear", "nearest"):
        assert set(np.unique(transform.warp_labels(labels, interpolation).array)) == {0, 5}


def test_the_zero_displacement_changes_nothing():
    grid = Grid((20, 30))
    transform = Transform.between_extents(grid, grid, np.zeros((20, 30, 2)))
    image = Image(np.random.default_rng(0).normal(size=(20, 30)), grid)
    labels = Image(blocks((20, 30), [0, 1, 2]), grid, "labels")
    np.testing.assert_array_equal(transform.warp_image(image).array, image.array)
    np.testing.assert_array_equal(transform.warp_labels(labels).array, labels.array)
    np.testing.assert_array_equal(transform.warp_labels(labels, "nearest").array, labels.array)
    assert set(transform.folding().values()) == {0.0}


def test_extents_are_laid_over_each_other_when_sizes_differ():
    fixed, moving = Grid((40, 60), (1.2, 0.7)), Grid((20, 25))
    array = np.random.default_rng(0).normal(size=moving.shape)
    still = Transform.between_extents(fixed, moving, np.zeros((40, 60, 2)))
    warped = still.warp_image(Image(array, moving))
    np.testing.assert_allclose(warped.array, resize_image(array, fixed.shape), atol=1e-5)
    assert warped.grid == fixed
    labels = blocks(moving.shape, [0, 1, 2])
    resized = resize_labels(labels, fixed.shape)
    assert (still.warp_labels(Image(labels, moving, "labels")).array == resized).mean() > 0.999


def test_a_displacement_is_in_fixed_voxels_when_sizes_differ():
    fixed, moving = Grid((40, 60)), Grid((80, 60))
    array = np.repeat(np.arange(80.0)[:, None], 60, axis=1)
    transform = Transform.between_extents(fixed, moving, np.broadcast_to([3.0, 0.0], (40, 60, 2)))
    p = np.arange(40.0)
    expected = (p + 3 + 0.5) * 2 - 0.5
    for border, outside in (("edge", 79.0), ("constant", -1000.0)):
        warped = transform.warp_image(Image(array, moving), border, fill=-1000.0).array[:, 0]
        np.testing.assert_allclose(warped, np.where(expected < 79.5, np.minimum(expected, 79), outside), atol=1e-4)


def test_four_labels_at_256_are_fast():
    grid = Grid((256, 256))
    labels = Image(resize_labels(blocks((50, 50), [0, 1, 2, 3]), (256, 256)), grid, "labels")
    transform = Transform.between_extents(grid, grid, smooth((256, 256), 0.2))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        transform.warp_labels(labels)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # about 0.006 on an idle core


def test_refusals():
    grid = Grid((4, 5))
    zero = np.zeros((4, 5, 2))
    transform = Transform.between_extents(grid, grid, zero)
    with pytest.raises(AcregError, match="shape of its grid"):
        Transform.between_extents(Grid((5, 4)), grid, zero)
    with pytest.raises(AcregError, match="1 values that are NaN"):
        Transform.between_extents(grid, grid, np.where(np.arange(40).reshape(4, 5, 2) == 7, np.nan, 0))
    with pytest.raises(AcregError, match="lies on the moving grid"):
        transform.warp_image(Image(np.zeros((5, 5)), Grid((5, 5)), name="a.png"))
    with pytest.raises(AcregError, match="number of axes"):
        transform.warp_image(Image(np.zeros((5, 5, 5)), Grid((5, 5, 5))))
    with pytest.raises(AcregError, match="one number of axes"):
        Transform(grid, Grid((4, 5, 6)))
    with pytest.raises(UsageError, match="to='there'"):
        transform.warp_points(np.zeros((1, 2)), to="there")
    with pytest.raises(AcregError, match=r"Points are \(n, 2\)"):
        transform.warp_points(np.zeros((1, 3)), to="moving")
    with pytest.raises(AcregError, match="of kind 'labels'"):
        transform.warp_labels(Image(np.zeros((4, 5)), grid))
    with pytest.raises(UsageError, match="'constant' or 'edge'. Received: border='reflect'"):
        transform.warp_image(Image(np.zeros((4, 5)), grid), border="reflect")
    with pytest.raises(UsageError, match="finite number. Received: fill=nan"):
        transform.warp_image(Image(np.zeros((4, 5)), grid), fill=np.nan)
    with pytest.raises(UsageError, match="'linear' or 'nearest'"):
        transform.warp_labels(Image(np.zeros((4, 5), int), grid, "labels"), "cubic")


AWKWARD = {
    "2-D, turned": (
        Grid((40, 30), (0.5, 1.2), (1e5, -7.0), ((np.cos(0.3), np.sin(0.3)), (np.sin(0.3), -np.cos(0.3)))),
        Grid((24, 36), (1.0, 0.9), (1e5 + 2, -3.0), ((0.0, -1.0), (1.0, 0.0))),
    ),
    "3-D, oblique": (
        Grid((8, 30, 26), (6.0, 1.2, 0.5), (-1e5, 30.0, 4.0), rotation((0.3, -0.5, 0.2))),
        Grid((26, 24, 20), (1.2, 2.0, 1.0), (-1e5 - 3, 33.0, 8.0), np.eye(3)[[2, 0, 1]] * [1, -1, 1]),
    ),
    "one slice thick": (
        Grid((1, 30, 26), (6.0, 1.2, 0.5), (3.0, 30.0, 4.0), rotation((0.0, 0.0, 0.4))),
        Grid((5, 24, 20), (3.0, 1.5, 1.0), (-3.0, 28.0, 5.0)),
    ),
}


def world_affine(fixed, moving, seed=0):
    """An affine map that takes the fixed image's middle to the moving image's, with a slight shear."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(fixed.rank + 1)
    matrix[:-1, :-1] += rng.uniform(-0.1, 0.1, (fixed.rank, fixed.rank))
    middle = [grid.to_world((np.array(grid.shape) - 1) / 2) for grid in (fixed, moving)]
    matrix[:-1, -1] = middle[1] - matrix[:-1, :-1] @ middle[0]
    return Affine(matrix)


def smooth_field(grid, largest, seed=0):
    noise = np.random.default_rng(seed).normal(size=(*grid.shape, grid.rank))
    field = ndimage.gaussian_filter(noise, (3,) * grid.rank + (0,))
    return Displacement(field * largest / np.abs(field).max(), grid)


def in_itk(transform):
    """The same composition of SimpleITK's own transforms."""
    rank = transform.fixed.rank
    parts = []
    for part in transform.maps:
        if isinstance(part, Affine):
            matrix, shift = part.matrix[:-1, :-1][::-1, ::-1], part.matrix[:-1, -1][::-1]
            parts.append(sitk.AffineTransform(matrix.ravel().tolist(), shift.tolist()))
        else:
            vectors = np.ascontiguousarray(part.in_mm(part.vectors.astype(float))[..., ::-1])
            field = sitk.GetImageFromArray(vectors, isVector=True)
            part.grid.copy_to_itk(field)
            parts.append(sitk.DisplacementFieldTransform(field))
    composite = sitk.CompositeTransform(rank)
    for part in reversed(parts):  # ITK applies the transform that was added last first
        composite.AddTransform(part)
    return composite


def itk_image(array, grid):
    image = sitk.GetImageFromArray(array)
    grid.copy_to_itk(image)
    return image


@pytest.mark.parametrize(("fixed", "moving"), AWKWARD.values(), ids=AWKWARD)
def test_warping_is_what_itk_does(fixed, moving):
    if min(fixed.shape) == 1:
        maps = (world_affine(fixed, moving), smooth_field(moving, 1.5))
    else:
        maps = (smooth_field(fixed, 1.5), world_affine(fixed, moving), smooth_field(moving, 1.0, 1))
    transform = Transform(fixed, moving, maps)
    array = ndimage.gaussian_filter(np.random.default_rng(2).random(moving.shape), 1).astype(np.float32)
    warped = transform.warp_image(Image(array, moving)).array
    resample = sitk.ResampleImageFilter()
    resample.SetReferenceImage(itk_image(np.zeros(fixed.shape, np.float32), fixed))
    resample.SetTransform(in_itk(transform))
    expected = sitk.GetArrayFromImage(resample.Execute(itk_image(array, moving)))
    assert 0.2 < (expected != 0).mean() < 1
    assert np.abs(warped - expected).max() < 1e-3 * np.ptp(array), "in all voxels"
    resample.SetDefaultPixelValue(-1000.0)
    expected = sitk.GetArrayFromImage(resample.Execute(itk_image(array, moving)))
    warped = transform.warp_image(Image(array, moving), fill=-1000.0).array
    assert np.abs(warped - expected).max() < 1e-3 * np.ptp(array)
    labels = Image((array > np.median(array)).astype(np.int32) * 4, moving, "labels")
    resample.SetInterpolator(sitk.sitkNearestNeighbor)
    resample.SetDefaultPixelValue(0.0)
    expected = sitk.GetArrayFromImage(resample.Execute(itk_image(labels.array, moving)))
    assert (transform.warp_labels(labels, "nearest").array == expected).mean() > 0.998


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("maps", ["affine", "field"])
def test_the_border_of_an_image_is_itks(rank, maps):
    """Voxels that look exactly at a border: the lower one belongs to the image, the upper one does not."""
    fixed, moving = Grid((8, 6, 10)[:rank]), Grid((4, 1, 5)[:rank], (2.0,) * rank)
    array = np.random.default_rng(0).uniform(5, 9, moving.shape).astype(np.float32)
    labels = Image(np.ones(moving.shape, int), moving, "labels")
    for shift in (0.0, 1.0, -1.0, 2.0, -2.5):
        step = np.eye(rank + 1)
        step[:-1, -1] = shift
        field = Displacement(np.full((*fixed.shape, rank), shift), fixed)
        transform = Transform(fixed, moving, (Affine(step) if maps == "affine" else field,))
        resample = sitk.ResampleImageFilter()
        resample.SetReferenceImage(itk_image(np.zeros(fixed.shape, np.float32), fixed))
        resample.SetTransform(in_itk(transform))
        expected = sitk.GetArrayFromImage(resample.Execute(itk_image(array, moving)))
        np.testing.assert_allclose(transform.warp_image(Image(array, moving)).array, expected, rtol=0, atol=1e-5)
        for interpolation in ("linear", "nearest"):
            np.testing.assert_array_equal(transform.warp_labels(labels, interpolation).array, expected > 0)


LANDMARK_GRIDS = {
    "2-D, turned": AWKWARD["2-D, turned"],
    "3-D, oblique": (
        Grid((14, 30, 32), (3.0, 1.2, 1.0), (-1e5, 30.0, 4.0), rotation((0.3, -0.5, 0.2))),
        AWKWARD["3-D, oblique"][1],
    ),
    "3-D, both oblique and far": (
        Grid((20, 24, 22), (1.5, 1.2, 1.0), (1e5, -1e5, 4.0), rotation((-0.4, 0.2, 0.6))[:, [1, 2, 0]] * [1, -1, 1]),
        Grid((22, 20, 24), (1.2, 2.0, 1.0), (1e5, -1e5, 8.0), rotation((0.1, 0.5, -0.3))[:, [2, 1, 0]] * [-1, 1, 1]),
    ),
}


@pytest.mark.parametrize("kind", [Displacement, Velocity])
@pytest.mark.parametrize(("fixed", "moving"), LANDMARK_GRIDS.values(), ids=LANDMARK_GRIDS)
def test_a_landmark_lands_where_points_say(fixed, moving, kind):
    """A ball of a voxel about a point of one image appears, warped onto the other, where `warp_points` takes it."""
    onto = world_affine(fixed, moving)
    transform = Transform(fixed, moving, (kind(smooth_field(fixed, 2.0).vectors, fixed), onto))
    inverse = transform.inverse()
    for seed in range(3):
        middle = np.array(fixed.shape) * np.random.default_rng(seed).uniform(0.4, 0.6, fixed.rank)
        here = fixed.to_world(middle)[None]
        there = transform.warp_points(here, to="moving")
        np.testing.assert_allclose(transform.warp_points(there, to="fixed"), here, rtol=0, atol=1e-3)
        np.testing.assert_allclose(ball_seen_by(transform, there), middle, rtol=0, atol=0.5)
        np.testing.assert_allclose(ball_seen_by(inverse, here), moving.to_index(there[0]), rtol=0, atol=0.5)
        wrong = transform.warp_points(here, to="fixed")  # the other direction is another place
        assert np.abs(fixed.to_index(wrong) - fixed.to_index(there)).max() > 1


def ball_seen_by(transform, point):
    """Draw a ball in the moving image, as wide as the largest voxel side; the centre of the warped one, a fixed index.

    The centre of what exceeds half its height: the field bends the rest.
    """
    moving, fixed = transform.moving, transform.fixed
    distance = np.linalg.norm(moving.to_world(np.stack(np.indices(moving.shape), -1)) - point, axis=-1)
    ball = np.exp(-((distance / max(*fixed.spacing, *moving.spacing)) ** 2)).astype(np.float32)
    warped = transform.warp_image(Image(ball, moving)).array.ravel()
    warped = np.maximum(warped - warped.max() / 2, 0)
    at = np.stack(np.indices(fixed.shape), -1).reshape(-1, fixed.rank)
    return (at * warped[:, None]).sum(0) / warped.sum()


@pytest.mark.parametrize(("fixed", "moving"), list(AWKWARD.values())[:2], ids=list(AWKWARD)[:2])
def test_inverse_and_composition(fixed, moving):
    there = Transform(fixed, moving, (smooth_field(fixed, 1.0), world_affine(fixed, moving)))
    back = there.inverse()
    assert back.fixed == moving and back.moving == fixed and 0 < back.residual < 2e-3
    inner = np.random.default_rng(0).uniform(0.3, 0.7, (50, fixed.rank)) * (np.array(fixed.shape) - 1)
    points = fixed.to_world(inner)
    round_trip = there.compose(back)
    assert round_trip.fixed == fixed and round_trip.moving == fixed and round_trip.residual == back.residual
    found = round_trip.warp_points(points, to="moving")
    np.testing.assert_allclose(fixed.to_index(found), inner, atol=0.1)
    one_by_one = back.warp_points(there.warp_points(points, to="moving"), to="moving")
    np.testing.assert_allclose(found, one_by_one)


@pytest.mark.parametrize("kind", [Displacement, Velocity])
@pytest.mark.parametrize(("fixed", "moving"), LANDMARK_GRIDS.values(), ids=LANDMARK_GRIDS)
def test_the_sampled_inverse_brings_every_voxel_back(fixed, moving, kind):
    """Also those that the field takes beyond the extent of its grid, here by 4 voxels."""
    shifted = kind(smooth_field(fixed, 1.5).vectors + 4.0, fixed)
    there = Transform(fixed, moving, (shifted, world_affine(fixed, moving)))
    back = there.sampled_inverse()
    assert (back.fixed, back.moving) == (moving, fixed) and back.residual < 1e-3
    start = fixed.to_world(np.stack(np.indices(fixed.shape), -1).reshape(-1, fixed.rank))
    middle = there.warp_points(start, to="moving")
    ends = fixed.to_index(back.warp_points(middle, to="moving"))
    places = moving.to_index(middle)
    inner = np.all((places > 0) & (places < np.array(moving.shape) - 1), axis=1)
    apart = np.abs(ends - fixed.to_index(start))[inner]
    assert inner.sum() > 800 and apart.mean() < 0.02 and apart.max() < 0.3
    # and at voxel centres of the moving grid, where nothing is interpolated
    voxels = moving.to_world(np.stack(np.indices(moving.shape), -1).reshape(-1, moving.rank))
    origins = back.warp_points(voxels, to="moving")
    seen = np.all((indices := fixed.to_index(origins)) > -0.5, axis=1) & np.all(
        indices < np.array(fixed.shape) - 0.5, 1
    )
    again = there.warp_points(origins[seen], to="moving")
    assert seen.sum() > 500 and np.abs(moving.to_index(again) - moving.to_index(voxels[seen])).max() < 1e-2


def test_the_sampled_inverse_of_affine_maps_is_affine():
    fixed, moving = AWKWARD["3-D, oblique"]
    parts = world_affine(fixed, moving), Affine(np.diag([1.0, -1.0, 1.0, 1.0]))
    back = Transform(fixed, moving, parts).sampled_inverse()
    (only,) = back.maps
    np.testing.assert_allclose(only.matrix @ parts[1].matrix @ parts[0].matrix, np.eye(4), atol=1e-9)


def test_a_transform_is_sampled_on_another_grid():
    fixed, moving = AWKWARD["3-D, oblique"]
    transform = Transform(fixed, moving, (smooth_field(fixed, 1.0), world_affine(fixed, moving)))
    every_second = Grid((4, 15, 13), tuple(2 * s for s in fixed.spacing), fixed.origin, fixed.direction)
    image = Image(np.random.default_rng(0).random(moving.shape), moving)
    coarse = transform.resample_to(every_second).warp_image(image).array
    np.testing.assert_allclose(coarse, transform.warp_image(image).array[::2, ::2, ::2], atol=1e-4)


@pytest.mark.parametrize("fixed, moving", AWKWARD.values(), ids=AWKWARD)
def test_a_transform_sampled_once_warps_as_it_does_itself(fixed, moving):
    coarse = Grid(tuple(max(3, n // 2) for n in fixed.shape), tuple(2 * s for s in fixed.spacing), fixed.origin,
                  fixed.direction)  # fmt: skip
    transform = Transform(fixed, moving, (smooth_field(coarse, 1.0), world_affine(fixed, moving)))
    once = transform.sampled()
    assert len(once.maps) == 1 and once.maps[0].grid == fixed
    image = Image(np.random.default_rng(0).random(moving.shape), moving)
    np.testing.assert_allclose(once.warp_image(image).array, transform.warp_image(image).array, atol=1e-4)
    np.testing.assert_allclose(once.displacement, transform.displacement, atol=1e-4)
    affine = Transform(fixed, moving, (world_affine(fixed, moving),))
    assert affine.sampled() is affine


def test_the_jacobian_of_an_affine_map_is_its_determinant():
    fixed, moving = AWKWARD["3-D, oblique"]
    affine = world_affine(fixed, moving)
    determinant = Transform(fixed, moving, (affine,)).jacobian_determinant()
    np.testing.assert_allclose(determinant, np.linalg.det(affine.matrix), rtol=1e-3)


@pytest.mark.parametrize("shift, expected", [(0.0, 1.0), (2.4, 0.8), (-2.6, 0.7), (30.0, 0.0)])
def test_inside_are_the_voxels_that_look_into_the_other_extent(shift, expected):
    grid = Grid((10, 8), (2.0, 1.0))
    transform = Transform.between_extents(grid, grid, np.broadcast_to([shift, 0.0], (10, 8, 2)))
    inside = transform.inside(grid)
    assert inside.dtype == bool and inside.mean() == pytest.approx(expected)
    labels = Image(np.ones((10, 8), int), grid, "labels")
    np.testing.assert_array_equal(inside, transform.warp_labels(labels, "nearest").array)


def test_slices_and_volumes_are_not_laid_over_each_other():
    with pytest.raises(AcregError, match=r"one number of axes. Received: a fixed image of shape \(4, 5\) and a moving"):
        Transform.between_extents(Grid((4, 5)), Grid((4, 5, 6)))
