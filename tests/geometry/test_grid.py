import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.geometry import Grid


def rotated(angle=0.3):
    c, s = np.cos(angle), np.sin(angle)
    return ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c))


def test_defaults():
    grid = Grid((4, 5))
    assert grid.spacing == (1.0, 1.0) and grid.origin == (0.0, 0.0) and grid.direction == ((1.0, 0.0), (0.0, 1.0))
    assert grid.rank == 2
    assert hash(grid) == hash(Grid((4, 5), (1, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4,)}, "2 or 3 axes"),
        ({"shape": (4, 0)}, "at least one voxel"),
        ({"shape": (4, 5), "spacing": (1, 0)}, "positive"),
        ({"shape": (4, 5), "spacing": (1, 1, 1)}, "2 finite numbers"),
        ({"shape": (4, 5), "origin": (1, np.nan)}, "2 finite numbers"),
        ({"shape": (4, 5), "direction": ((2, 0), (0, 1))}, "unit vectors"),
        ({"shape": (4, 5), "direction": ((1, 1), (0, 0))}, "unit vectors"),
        ({"shape": (4, 5), "direction": np.eye(3)}, "2x2 matrix"),
        ({"shape": (4, 5), "plane": np.zeros((3, 4))}, "plane of a 2-D grid"),
        ({"shape": (4, 5), "plane": np.eye(3)}, "plane of a 2-D grid"),
        ({"shape": (3, 4, 5), "plane": np.eye(3, 4)}, r"plane of a 2-D grid.*\(3, 4, 5\)"),
    ],
)
def test_contradictions_are_refused(arguments, message):
    with pytest.raises(AcregError, match=message):
        Grid(**arguments)


def test_itk_sees_the_same_voxels():
    grid = Grid((4, 5, 6), (3.0, 1.2, 0.7), (1e5, -20.0, 7.0), rotated())
    image = sitk.Image([6, 5, 4], sitk.sitkFloat32)
    grid.copy_to_itk(image)
    assert Grid.from_itk(image) == grid
    index = np.array([1, 2, 3])
    point = np.asarray(grid.origin) + np.asarray(grid.direction) @ (np.asarray(grid.spacing) * index)
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint([3, 2, 1])[::-1], point, rtol=1e-12)


@pytest.mark.parametrize(
    "grid", [Grid((4, 5, 6), (3.0, 1.2, 0.7), (1e5, -20.0, 7.0), rotated()), Grid((4, 5), (2.0, 0.5), (3, 4))]
)
def test_affine_round_trip(grid):
    again = Grid.from_affine(grid.affine(), grid.shape)
    np.testing.assert_allclose(again.spacing, grid.spacing)
    np.testing.assert_allclose(again.origin, grid.origin)
    np.testing.assert_allclose(again.direction, grid.direction, atol=1e-12)


def test_affine_is_in_ras():
    affine = Grid((4, 5, 6), (3.0, 1.2, 0.7), (10.0, 20.0, 30.0)).affine()
    np.testing.assert_allclose(affine, [[-0.7, 0, 0, -30], [0, -1.2, 0, -20], [0, 0, 3, 10], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "grid", [Grid((4, 5, 6), (3.0, 1.2, 0.7), (1e5, -20.0, 7.0), rotated()), Grid((4, 5), (2.0, 0.5), (3, 4))]
)
def test_indices_and_world_coordinates(grid):
    image = sitk.Image(list(grid.shape[::-1]), sitk.sitkFloat32)
    grid.copy_to_itk(image)
    indices = np.random.default_rng(0).uniform(-2, 8, (2, 3, grid.rank))
    points = grid.to_world(indices)
    for index, point in zip(indices.reshape(-1, grid.rank), points.reshape(-1, grid.rank), strict=True):
        expected = image.TransformContinuousIndexToPhysicalPoint(index[::-1].tolist())[::-1]
        np.testing.assert_allclose(point, expected, rtol=1e-12)
    np.testing.assert_allclose(grid.to_index(points), indices, atol=1e-9)
    homogeneous = np.concatenate([indices, np.ones((2, 3, 1))], axis=-1) @ grid.matrix.T
    np.testing.assert_allclose(homogeneous[..., :-1], points, rtol=1e-12)
