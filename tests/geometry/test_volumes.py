"""Slices as volumes: in a plane of the patient, and as pictures, which have no place."""

import numpy as np
import pytest

from acreg.geometry import Affine, Displacement, Grid, Transform, Velocity
from acreg.geometry.volumes import grid_volume, transform_volume

CORONAL = ((0.0, 1.0, 0.0, 60.0), (3.0, 0.0, 0.0, -12.0), (0.0, 0.0, 1.0, 5.0))
"""Slices 3 mm apart along y; the point (z, x) of this one lies at (60 + z, -12, 5 + x)."""
FLAT = Grid((20, 24), (0.5, 1.2), (4.0, -7.0), ((0.6, 0.8), (0.8, -0.6)))
PLACED = Grid((20, 24), (0.5, 1.2), (4.0, -7.0), ((0.6, 0.8), (0.8, -0.6)), CORONAL)


def in_space(points, grid):
    """Points of a slice in the patient, without `acreg.geometry.volumes`."""
    if grid.plane:
        return np.stack([60 + points[:, 0], np.full(len(points), -12.0), 5 + points[:, 1]], axis=1)
    return np.stack([np.zeros(len(points)), points[:, 0], points[:, 1]], axis=1)


@pytest.mark.parametrize("fixed", [FLAT, PLACED], ids=["axial", "coronal"])
@pytest.mark.parametrize("moving", [FLAT, PLACED], ids=["to axial", "to coronal"])
def test_a_2d_transform_takes_points_of_its_plane_to_the_same_points(fixed, moving):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 24, 2))
    affine = Affine(np.array([(1.1, 0.1, 2.0), (-0.2, 0.9, -3.0), (0.0, 0.0, 1.0)]))
    transform = Transform(fixed, moving, (Displacement(vectors, fixed), affine, Velocity(vectors, moving, 3)))
    space = transform_volume(transform)
    points = fixed.to_world(rng.uniform(1, 18, (50, 2)))
    expected = in_space(transform.warp_points(points, to="moving"), moving)
    np.testing.assert_allclose(space.warp_points(in_space(points, fixed), to="moving"), expected, atol=1e-6)


@pytest.mark.parametrize("grid", [FLAT, PLACED], ids=["axial", "coronal"])
def test_the_volume_of_a_slice_has_its_voxels(grid):
    volume = grid_volume(grid)
    assert volume.shape == (1, 20, 24) and volume.spacing == ((3.0 if grid.plane else 1.0), 0.5, 1.2)
    indices = np.random.default_rng(0).uniform(0, 19, (50, 2))
    found = volume.to_world(np.column_stack([np.zeros(50), indices]))
    np.testing.assert_allclose(found, in_space(grid.to_world(indices), grid), atol=1e-12)


def test_a_volume_stays_as_it_is():
    grid = Grid((3, 4, 5))
    transform = Transform(grid, grid)
    assert grid_volume(grid) is grid and transform_volume(transform) is transform
