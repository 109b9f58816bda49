import time

import numpy as np
import pytest

from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid, Transform, resize_displacement, resize_image, resize_labels, warp_array
from acreg.geometry import displacement as displacement_module
from acreg.io import Image


def smooth(shape, scale, seed=0):
    rng = np.random.default_rng(seed)
    rank = len(shape)
    coarse = rng.normal(size=(*(4,) * rank, rank))
    return resize_displacement(coarse, shape) * scale


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
    warped = Transform(u, grid, grid).warp_labels(Image(labels, grid, "labels"))
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
    half = Transform(np.broadcast_to([0.0, 0.5], (2, 4, 2)), grid, grid)
    np.testing.assert_array_equal(half.warp_labels(labels).array, np.full((2, 4), 2))


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_labels_that_touch_the_border_end_there(interpolation):
    """An organ that the image cuts off is not drawn on beyond it: ITK's rule for labels, not the images' edge value."""
    grid = Grid((6, 8))
    labels = Image(np.full((6, 8), 3), grid, "labels")
    shifted = Transform(np.broadcast_to([2.4, 0.0], (6, 8, 2)), grid, grid)
    expected = np.where(np.arange(6)[:, None] + 2.4 <= 5.5, 3, 0) * np.ones((6, 8), int)
    np.testing.assert_array_equal(shifted.warp_labels(labels, interpolation).array, expected)
    half_voxel = Transform(np.zeros((12, 16, 2)), Grid((12, 16)), grid)
    np.testing.assert_array_equal(half_voxel.warp_labels(labels, interpolation).array, np.full((12, 16), 3))


def test_linear_beats_nearest_at_the_tip_of_a_thin_diagonal_but_both_keep_the_label_set():
    grid = Grid((30, 30))
    labels = Image(np.eye(30, dtype=np.int32) * 5, grid, "labels")
    transform = Transform(smooth((30, 30), 0.5), grid, grid)
    for interpolation in ("linear", "nearest"):
        assert set(np.unique(transform.warp_labels(labels, interpolation).array)) == {0, 5}


def test_the_zero_displacement_changes_nothing():
    grid = Grid((20, 30))
    transform = Transform(np.zeros((20, 30, 2)), grid, grid)
    image = Image(np.random.default_rng(0).normal(size=(20, 30)), grid)
    labels = Image(blocks((20, 30), [0, 1, 2]), grid, "labels")
    np.testing.assert_array_equal(transform.warp_image(image).array, image.array)
    np.testing.assert_array_equal(transform.warp_labels(labels).array, labels.array)
    np.testing.assert_array_equal(transform.warp_labels(labels, "nearest").array, labels.array)
    assert transform.folding() == {"folded_percent": 0.0, "sd_log_j": 0.0}


def test_extents_are_laid_over_each_other_when_sizes_differ():
    fixed, moving = Grid((40, 60), (1.2, 0.7)), Grid((20, 25))
    array = np.random.default_rng(0).normal(size=moving.shape)
    still = Transform(np.zeros((40, 60, 2)), fixed, moving)
    warped = still.warp_image(Image(array, moving))
    np.testing.assert_allclose(warped.array, resize_image(array, fixed.shape), atol=1e-5)
    assert warped.grid == fixed
    labels = blocks(moving.shape, [0, 1, 2])
    resized = resize_labels(labels, fixed.shape)
    assert (still.warp_labels(Image(labels, moving, "labels")).array == resized).mean() > 0.999


def test_a_displacement_is_in_fixed_voxels_when_sizes_differ():
    fixed, moving = Grid((40, 60)), Grid((80, 60))
    array = np.repeat(np.arange(80.0)[:, None], 60, axis=1)
    transform = Transform(np.broadcast_to([3.0, 0.0], (40, 60, 2)), fixed, moving)
    p = np.arange(40.0)
    expected = np.clip((p + 3 + 0.5) * 2 - 0.5, 0, 79)
    np.testing.assert_allclose(transform.warp_image(Image(array, moving)).array[:, 0], expected, atol=1e-4)


def test_four_labels_at_256_are_fast():
    grid = Grid((256, 256))
    labels = Image(resize_labels(blocks((50, 50), [0, 1, 2, 3]), (256, 256)), grid, "labels")
    transform = Transform(smooth((256, 256), 0.2), grid, grid)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        transform.warp_labels(labels)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # about 0.006 on an idle core


def test_refusals():
    grid = Grid((4, 5))
    zero = np.zeros((4, 5, 2))
    transform = Transform(zero, grid, grid)
    with pytest.raises(AcregError, match="fixed grid's shape"):
        Transform(zero, Grid((5, 4)), grid)
    with pytest.raises(AcregError, match="1 values that are NaN"):
        Transform(np.where(np.arange(40).reshape(4, 5, 2) == 7, np.nan, 0), grid, grid)
    with pytest.raises(AcregError, match="lies on the moving grid"):
        transform.warp_image(Image(np.zeros((5, 5)), Grid((5, 5)), name="a.png"))
    with pytest.raises(AcregError, match="Only labels"):
        transform.warp_labels(Image(np.zeros((4, 5)), grid))
    with pytest.raises(UsageError, match="'linear' or 'nearest'"):
        transform.warp_labels(Image(np.zeros((4, 5), int), grid, "labels"), "cubic")
