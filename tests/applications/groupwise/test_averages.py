"""Means of affine maps, of grids and of images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import linalg, ndimage

from acreg.applications.groupwise.averages import mean_affine, mean_image, template_grid
from acreg.errors import AcregError
from acreg.geometry import Affine, Grid, Image


def near_identity(rng: np.random.Generator, rank: int = 3) -> Affine:
    step = np.zeros((rank + 1, rank + 1))
    step[:-1, :-1] = 0.2 * rng.standard_normal((rank, rank))
    step[:-1, -1] = 20 * rng.standard_normal(rank)
    return Affine(linalg.expm(step))


@pytest.mark.parametrize("rank", [2, 3])
def test_the_mean_of_affine_maps_does_not_depend_on_where_they_start_and_end(rank: int) -> None:
    rng = np.random.default_rng(0)
    maps = [near_identity(rng, rank) for _ in range(5)]
    mean = mean_affine(maps).matrix
    logs = [linalg.logm(each.matrix @ np.linalg.inv(mean)) for each in maps]
    assert np.abs(np.sum(logs, axis=0)).max() < 1e-6
    start, end = near_identity(rng, rank).matrix, near_identity(rng, rank).matrix
    moved = mean_affine([Affine(end @ each.matrix @ start) for each in maps]).matrix
    np.testing.assert_allclose(moved, end @ mean @ start, atol=1e-6)


def test_opposite_maps_have_the_identity_as_their_mean() -> None:
    one = near_identity(np.random.default_rng(1))
    np.testing.assert_allclose(mean_affine([one, one.inverse()]).matrix, np.eye(4), atol=1e-9)


def test_a_mirrored_image_has_no_place_in_a_group() -> None:
    with pytest.raises(AcregError, match=r"The images of a group lie about the same way.*mirrored, or turned.*Correct"):
        mean_affine([Affine(np.eye(4)), Affine(np.diag([1.0, 1.0, -1.0, 1.0]))])


def test_the_grid_of_equal_images_is_theirs() -> None:
    turn = linalg.expm(np.array([[0, 0.1, 0], [-0.1, 0, 0.2], [0, -0.2, 0]]))
    grid = Grid((9, 8, 7), (2.0, 1.0, 1.5), (-100.0, 3.0, 40.0), tuple(map(tuple, turn)))
    found = template_grid([grid] * 3, [Affine(np.eye(4))] * 3)
    assert found.shape == grid.shape and found.spacing == grid.spacing
    np.testing.assert_allclose(found.matrix, grid.matrix, atol=1e-5)


def test_the_grid_has_the_median_extent_in_the_space_of_the_template() -> None:
    grids = [Grid((10, 10), origin=(at, at)) for at in (0.0, 100.0, 206.0)]
    maps = [Affine(np.array([[1, 0, at], [0, 1, at], [0, 0, 1]])) for at in (0.0, 100.0, 200.0)]
    assert template_grid(grids, maps) == Grid((10, 10))
    assert template_grid(grids, maps, spacing=2.0) == Grid((5, 5), (2.0, 2.0), (0.5, 0.5))


def test_grey_values_are_matched_and_keep_their_scale() -> None:
    rng = np.random.default_rng(2)
    array = ndimage.gaussian_filter(rng.random((24, 20)), 2)
    one = Image.from_array(100 * array)
    found = mean_image(one.grid, [(one, ()), (dataclasses.replace(one, array=3 * one.array + 50), ())])
    low, high = np.percentile(one.array, (0.5, 99.5))
    middle = ((low + 3 * low + 50) / 2, (high + 3 * high + 50) / 2)
    expected = (one.array - low) / (high - low) * (middle[1] - middle[0]) + middle[0]
    np.testing.assert_allclose(found.image.array, expected, rtol=1e-4)
    assert found.deviation.max() < 1e-2 * np.ptp(expected)


def test_an_image_counts_only_where_it_is_known() -> None:
    """An image that ends counts nothing beyond its extent, unless it is known to continue with its background."""
    rng = np.random.default_rng(3)
    grid = Grid((12, 12))
    whole = Image(1 + rng.random(grid.shape), grid)
    part = Image(whole.array[:, :6], Grid((12, 6)))
    found = mean_image(grid, [(whole, ()), (part, ())]).image.array
    scaled = [np.corrcoef(found[:, cut].ravel(), whole.array[:, cut].ravel())[0, 1] for cut in np.s_[:6, 6:]]
    assert min(scaled) > 0.999
    skull_stripped = np.zeros(grid.shape)
    skull_stripped[3:9, 3:5] = 1 + rng.random((6, 2))
    cut = Image(skull_stripped[:, :6], Grid((12, 6)))
    found = mean_image(grid, [(Image(skull_stripped, grid), ()), (cut, ())]).image.array
    np.testing.assert_allclose(found, skull_stripped, atol=1e-5)
    assert (found[skull_stripped == 0] == 0).all()


def test_sharpening_raises_contrast_and_keeps_the_background() -> None:
    array = np.zeros((20, 20))
    array[6:14, 6:14] = ndimage.gaussian_filter(np.random.default_rng(4).random((8, 8)), 1) + 1
    image = Image.from_array(array)
    plain, sharp = (mean_image(image.grid, [(image, ())] * 2, sharpen=s).image.array for s in (0.0, 1.0))
    assert sharp[6:14, 6:14].std() > plain[6:14, 6:14].std() and sharp[0, 0] == plain[0, 0] == 0
