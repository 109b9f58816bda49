import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.geometry.maps import Affine, Displacement, Velocity

OBLIQUE = ((0.0, 0.0, -1.0), (np.cos(0.4), -np.sin(0.4), 0.0), (np.sin(0.4), np.cos(0.4), 0.0))
GRIDS = {
    "2-D": Grid((20, 24), (0.5, 1.2), (1e5, -7.0), ((np.cos(0.3), np.sin(0.3)), (np.sin(0.3), -np.cos(0.3)))),
    "oblique": Grid((14, 12, 16), (6.0, 1.2, 0.5), (-1e5, 30.0, 4.0), OBLIQUE),
}


def smooth(grid, largest=1.5, seed=0):
    """A smooth random field whose longest component is `largest` voxels."""
    noise = np.random.default_rng(seed).normal(size=(*grid.shape, grid.rank))
    field = ndimage.gaussian_filter(noise, (4,) * grid.rank + (0,), mode="reflect")
    return field * largest / np.abs(field).max()


def field_in_itk(part):
    vectors = part.in_mm(part.vectors.astype(float))[..., ::-1]
    field = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    part.grid.copy_to_itk(field)
    return sitk.DisplacementFieldTransform(field)


def itk_points(transform, points):
    return np.array([transform.TransformPoint(p[::-1].tolist())[::-1] for p in points])


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_displacement_moves_points_as_itk_does(grid):
    part = Displacement(smooth(grid), grid)
    indices = np.random.default_rng(1).uniform(-3, np.array(grid.shape) + 2, (400, grid.rank))
    points = grid.to_world(indices)
    moved = part(points)
    np.testing.assert_allclose(moved, itk_points(field_in_itk(part), points), rtol=0, atol=1e-3)
    outside = np.any((indices < -0.5) | (indices > np.array(grid.shape) - 0.5), axis=1)
    np.testing.assert_array_equal(moved[outside], points[outside])
    assert (moved[~outside] != points[~outside]).any(axis=1).all()


def test_an_affine_is_a_matrix_on_points_and_its_inverse_undoes_it():
    matrix = np.eye(4)
    matrix[:3] = np.random.default_rng(0).normal(size=(3, 4))
    part = Affine(matrix)
    points = np.random.default_rng(1).normal(size=(10, 3))
    np.testing.assert_allclose(part(points), [matrix[:3, :3] @ p + matrix[:3, 3] for p in points])
    np.testing.assert_allclose(part.inverse()(part(points)), points, atol=1e-9)


def test_extents_are_laid_over_each_other():
    fixed, moving = GRIDS["oblique"], Grid((7, 24, 8), (1, 2, 3), (5, 6, 7))
    part = Affine.between_extents(fixed, moving)
    corner = np.array([[-0.5] * 3, np.array(fixed.shape) - 0.5])
    found = moving.to_index(part(fixed.to_world(corner)))
    np.testing.assert_allclose(found, [[-0.5] * 3, np.array(moving.shape) - 0.5], atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_the_inverse_of_a_displacement_takes_points_back(grid):
    part = Displacement(smooth(grid), grid)
    inverse, residual = part.inverse()
    assert residual < 2e-3
    inner = np.random.default_rng(1).uniform(4, np.array(grid.shape) - 5, (200, grid.rank))
    there = part(grid.to_world(inner))
    # Between voxels both fields are interpolated, and the composition of two such is not linear: hence 0.05.
    np.testing.assert_allclose(grid.to_index(inverse(there)), inner, atol=0.05)
    at_voxels = np.stack(np.meshgrid(*(np.arange(4, n - 4) for n in grid.shape), indexing="ij"), -1)
    at_voxels = at_voxels.reshape(-1, grid.rank)
    np.testing.assert_allclose(grid.to_index(part(inverse(grid.to_world(at_voxels)))), at_voxels, atol=5e-3)


@pytest.mark.parametrize("make", [Displacement, Velocity])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_points_come_back_also_those_that_were_pushed_off_the_grid(grid, make):
    part = make(smooth(grid, 2.5), grid)
    indices = np.random.default_rng(1).uniform(-0.5, np.array(grid.shape) - 0.5, (400, grid.rank))
    there = part(grid.to_world(indices))
    assert 20 < np.count_nonzero(~grid.contains(grid.to_index(there))) < 200
    np.testing.assert_allclose(grid.to_index(part.invert_points(there)), indices, rtol=0, atol=5e-3)
    far = grid.to_world(np.array(grid.shape) + 20.0)[None]
    np.testing.assert_array_equal(part.invert_points(far), far)


@pytest.mark.parametrize("stretch", [0.9, 1.8, 8.0])
def test_strong_stretching_is_inverted(stretch):
    """Where the derivative of u exceeds 1 the plain fixed-point iteration runs away."""
    grid = Grid((32, 32))
    u = np.zeros((32, 32, 2))
    u[..., 0] = stretch * (np.arange(32) - 15.5)[:, None]
    points = np.array([[15.5 + d, 16.0] for d in np.linspace(-8, 8, 9)])
    found = Displacement(u, grid).invert_points(points)
    np.testing.assert_allclose(found[:, 0], 15.5 + (points[:, 0] - 15.5) / (1 + stretch), atol=1e-3)
    assert Displacement(u, grid).inverse()[1] < 2e-3


def test_points_in_a_torn_field_are_refused():
    grid = Grid((32, 32))
    torn = np.random.default_rng(0).normal(0, 10, (32, 32, 2))
    with pytest.raises(AcregError, match=r"of 200 points where it failed, such as \["):
        Displacement(torn, grid).invert_points(np.random.default_rng(1).uniform(5, 25, (200, 2)))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_the_flow_back_undoes_the_flow(grid):
    flow = Velocity(smooth(grid), grid)
    inner = np.random.default_rng(1).uniform(5, np.array(grid.shape) - 6, (200, grid.rank))
    points = grid.to_world(inner)
    back = grid.to_index(flow.inverse()(flow(points)))
    moved = np.abs(grid.to_index(flow(points)) - inner).max()
    assert moved > 0.3
    np.testing.assert_allclose(back, inner, atol=0.05)


def test_the_flow_of_a_constant_is_that_shift():
    grid = Grid((16, 16), (2.0, 3.0))
    flow = Velocity(np.broadcast_to([0.75, -0.5], (16, 16, 2)), grid)
    np.testing.assert_allclose(flow(np.array([[10.0, 12.0]])), [[11.5, 10.5]], atol=1e-5)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Affine(np.eye(5)), "3x3 .* or 4x4"),
        (lambda: Affine(np.diag([1, 1, 0, 1.0])), "can be inverted"),
        (lambda: Affine(np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1.0]])), "last row"),
        (lambda: Affine(np.full((3, 3), np.nan)), "finite"),
        (lambda: Displacement(np.zeros((4, 5, 2)), Grid((5, 4))), "shape of its grid"),
        (lambda: Displacement(np.full((4, 5, 2), np.inf), Grid((4, 5))), "40 values that are NaN or infinite"),
        (lambda: Velocity(np.zeros((4, 5, 2)), Grid((4, 5)), steps=-1), "steps=-1"),
    ],
)
def test_refusals(build, said):
    with pytest.raises(AcregError, match=said):
        build()


def test_a_displacement_that_nearly_folds_is_inverted():
    """Squeezed thirtyfold along one axis and stretched threefold along the other: small steps are too slow."""
    grid = Grid((60, 50))
    along = np.arange(60.0)[:, None] - 29.3
    vectors = np.zeros((60, 50, 2))
    vectors[..., 0] = -0.97 * 6 * np.tanh(along / 6)
    vectors[..., 1] = 2.0 * (np.arange(50) - 24.2)
    part = Displacement(vectors, grid)
    inverse, residual = part.inverse()
    assert residual < 1e-3
    voxels = np.stack(np.indices(grid.shape), -1).reshape(-1, 2).astype(float)
    found = voxels + inverse.vectors.reshape(-1, 2)
    inside = grid.contains(found)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(part(found[inside]), voxels[inside], rtol=0, atol=2e-3)
