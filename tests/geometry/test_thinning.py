"""Numbers of large images and transforms from some of their voxels."""

from __future__ import annotations

import numpy as np
import pytest

from acreg.geometry import Affine, Displacement, Grid, Image, Transform, Velocity
from acreg.geometry.thinning import determinants_at, shifts_at, some_voxels, thinned, thinned_grid, with_short_flows


def test_a_thinned_image_lies_where_the_whole_does() -> None:
    image = Image(np.arange(24.0 * 20).reshape(24, 20), Grid((24, 20), (2.0, 3.0), (5.0, 7.0)))
    thin = thinned(image, 100)
    assert thin.array.size <= 100 and thinned(image, 1000) is image
    places = np.argwhere(np.ones(thin.grid.shape, bool))
    there = image.grid.to_index(thin.grid.to_world(places)).astype(int)
    np.testing.assert_array_equal(image.array[tuple(there.T)], thin.array.ravel())


@pytest.mark.parametrize("shape", [(300, 300, 300), (2, 900, 900), (1, 900, 900), (5, 7, 90000), (4000, 3000)])
def test_a_short_axis_keeps_two_voxels_and_the_others_are_thinned_more(shape: tuple[int, ...]) -> None:
    grid, steps = thinned_grid(Grid(shape), 1000)
    assert np.prod(grid.shape) <= 1300 and min(grid.shape) >= min(2, *shape)
    assert grid.shape == tuple(len(range(0, n, step)) for n, step in zip(shape, steps))


@pytest.mark.parametrize("shape", [(9, 8), (6, 7, 8)])
def test_numbers_at_voxels_are_those_of_the_whole_transform(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    rank = len(shape)
    grid = Grid(shape, (2.0, 1.0, 1.5)[:rank], (3.0, 4.0, 5.0)[:rank])
    shear = np.eye(rank + 1)
    shear[0, 1], shear[1, -1] = 0.3, 2.0
    transform = Transform(grid, grid, (Displacement(rng.normal(size=(*shape, rank)), grid), Affine(shear)))
    voxels = some_voxels(grid, 10**6)
    assert len(voxels) == np.prod(shape)
    found = determinants_at(transform, voxels).reshape(shape)
    np.testing.assert_allclose(found, transform.jacobian_determinant(), atol=1e-4)
    shifts = shifts_at(transform, voxels).reshape(*shape, rank)
    np.testing.assert_allclose(shifts, transform.displacement * grid.spacing, atol=1e-4)


def test_the_flow_of_a_large_velocity_is_that_of_a_coarser_one() -> None:
    grid = Grid((64, 48), (2.0, 1.0))
    y, x = np.indices(grid.shape) / 10
    velocity = Velocity(np.stack([np.sin(x), 2 * np.cos(y)], axis=-1), grid)
    transform = Transform(grid, grid, (velocity,))
    short = with_short_flows(transform, 400)
    assert short.maps[0].vectors.size <= 800 and "displacement" not in vars(velocity)
    voxels = some_voxels(grid, 10**6)
    inner = ((voxels > 6) & (voxels < (57, 41))).all(axis=1)
    np.testing.assert_allclose(shifts_at(short, voxels)[inner], shifts_at(transform, voxels)[inner], atol=0.35)
    assert with_short_flows(transform, 400).maps[0] is velocity, "its flow is known now"
