import warnings

import numpy as np
import pytest
from keras import ops
from scipy.interpolate import RBFInterpolator
from scipy.spatial.transform import Rotation

from acreg.layers import thin_plate_spline
from acreg.layers.grid_spline import grid_spline, spline_displacement
from acreg.layers.thin_plate_spline import interpolate_spline

ORDER = {2: 2, 3: 1}  # whose kernel makes a thin-plate spline
SHAPES = {2: (40, 33), 3: (24, 19, 21)}


def control_grid(points, rank):
    """Positions of a grid of control points, float32 ``(1, points**rank, rank)``."""
    return np.stack(np.indices((points,) * rank), -1).reshape(1, -1, rank).astype(np.float32)


def voxels(shape, points):
    """Where the voxels of an image lie on such a grid."""
    positions = [(np.arange(n) + 0.5) / n * (points - 1) for n in shape]
    return np.stack(np.meshgrid(*positions, indexing="ij"), -1).reshape(1, -1, len(shape)).astype(np.float32)


def random_values(points, rank, batch=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-6, 6, (batch, *(points,) * rank, rank)).astype(np.float32)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(
    ("order", "regularization", "kernel"),
    [(1, 0, "linear"), (2, 0, "thin_plate_spline"), (2, 0.3, "thin_plate_spline"), (3, 0, "cubic")],
)
def test_interpolate_spline_is_scipys(rank, order, regularization, kernel):
    rng = np.random.default_rng(rank)
    points = control_grid(3, rank) + rng.uniform(-0.3, 0.3, (2, 3**rank, rank))  # none too close to another
    queries, values = rng.uniform(-0.5, 2.5, (2, 50, rank)), rng.normal(size=(2, 3**rank, 4))
    spline = interpolate_spline(points, values, queries, order, regularization)
    for b in range(2):
        expected = RBFInterpolator(points[b], values[b], smoothing=regularization, kernel=kernel, degree=1)(queries[b])
        np.testing.assert_allclose(spline[b], expected, atol=1e-3)


UNITS = {
    "pixels": (1.0, 0.0),
    "metres": (1e-3, 0.0),
    "micrometres, far away": (1e3, 1e8),
    "millimetres, far away": (1.0, np.array([1e5, -1e5, 3e4])),
    "a stack of thin slices": (np.array([1.0, 1.0, 1e-3]), 0.0),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kernel", ["linear", "thin_plate_spline", "cubic"])
def test_interpolate_spline_is_scipys_in_any_unit_and_anywhere(unit, rank, kernel):
    """Also with smoothing, whose amount has the unit of the kernel."""
    order = {"linear": 1, "thin_plate_spline": 2, "cubic": 3}[kernel]
    rng = np.random.default_rng(2)
    factor, shift = (np.broadcast_to(x, 3)[:rank] for x in UNITS[unit])
    points, queries = (rng.uniform(0, 512, (n, rank)) * factor + shift for n in (300, 200))
    values = 5 * np.sin(rng.uniform(0, 512, (300, 2)) / 80)
    for smoothing in (0.0,) if order == 1 else (0.0, 0.1 * (50 * factor.max()) ** order):
        spline = interpolate_spline(points[None], values[None], queries[None], order, smoothing)
        middle = points.mean(axis=0)  # where SciPy, too, has all its digits
        exact = RBFInterpolator(points - middle, values, smoothing=smoothing, kernel=kernel, degree=1)
        np.testing.assert_allclose(spline[0], exact(queries - middle), rtol=0, atol=1e-4)


def test_an_even_kernel_of_higher_order_keeps_its_unit():
    """r^4 log(r) is another spline in another unit, because the linear part cannot take up r^4."""
    rng = np.random.default_rng(1)
    points, values, queries = rng.uniform(0, 20, (15, 2)), rng.normal(size=(15, 1)), rng.uniform(0, 20, (30, 2))

    def terms(x):
        r = np.linalg.norm(x[:, None] - points, axis=-1)
        return np.hstack([r**4 * np.log(np.maximum(r, 1e-12)), x, np.ones((len(x), 1))])

    system = np.vstack([terms(points), np.hstack([terms(points)[:, 15:].T, np.zeros((3, 3))])])
    system[range(15), range(15)] += 7.0
    expected = terms(queries) @ np.linalg.solve(system, np.vstack([values, np.zeros((3, 1))]))
    with pytest.warns(UserWarning, match="order=4"):
        found = interpolate_spline(points[None], values[None], queries[None], order=4, regularization=7.0)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4)


def test_the_spline_of_float32_tensors_misses_no_landmark():
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 512, (1, 300, 2)).astype(np.float32)
    values = (5 * np.sin(points / 80) + rng.normal(0, 0.5, points.shape)).astype(np.float32)
    tensors = [ops.convert_to_tensor(x) for x in (points, values, points)]
    np.testing.assert_allclose(interpolate_spline(*tensors), values, rtol=0, atol=1e-4)


def test_points_that_fix_no_spline_are_refused_where_their_values_are_known():
    rng = np.random.default_rng(0)
    points, values = rng.uniform(1e5, 1e5 + 1, (2, 9, 3)), rng.normal(size=(2, 9, 1))
    twice, flat = points.copy(), points.copy()
    twice[1, 7] = twice[1, 2]
    flat[1] = flat[1] @ np.diag([1.0, 1.0, 0.0]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    with pytest.raises(ValueError, match="differ from each other. Received: sample 1, where points 2 and 7"):
        interpolate_spline(twice, values, points)
    values[1, 2], values[1, 7] = 0.0, 1.0
    mean = np.asarray(interpolate_spline(twice, values, twice, regularization=1e-6))[1]
    np.testing.assert_allclose(mean[[2, 7]], 0.5, atol=1e-3)  # with a little smoothing, between the two
    for regularization in (0.0, 1.0):
        with pytest.raises(ValueError, match="on one line or plane. Received: sample 1 with 9 points"):
            interpolate_spline(flat, values, points, regularization=regularization)
        with pytest.raises(ValueError, match="or that are not finite"):
            interpolate_spline(points * np.nan, values, points, regularization=regularization)
    with pytest.raises(ValueError, match="needs more than 3 `train_points`. Received: 3"):
        interpolate_spline(points[:, :3], values[:, :3], points)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_gradient_of_interpolate_spline_is_finite_at_the_points(gradient, order):
    rng = np.random.default_rng(0)
    points, values = rng.uniform(size=(1, 12, 2)).astype(np.float32), rng.normal(size=(1, 12, 1)).astype(np.float32)
    weights = np.arange(12, dtype=np.float32)[None, :, None]
    slope = gradient(lambda x: interpolate_spline(x, values, points, order) * weights, points)
    assert np.isfinite(slope).all()
    # at the points themselves the spline is the value, whatever the values of others
    slope = gradient(lambda v: interpolate_spline(points, v, points, order) * weights, values)
    np.testing.assert_allclose(slope, weights, atol=0.02)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("points", [3, 8])
@pytest.mark.parametrize("kind", ["random", "smooth"])
def test_grid_spline_differs_from_the_exact_one_by_less_than_its_docstring_says(rank, points, kind):
    values = random_values(points, rank)
    if kind == "smooth":
        at = control_grid(points, rank).reshape(values.shape)
        values = 6 * np.sin(0.3 * at[..., ::-1] + 0.4 * at.sum(axis=-1, keepdims=True))
    shape = SHAPES[rank]
    exact = interpolate_spline(
        control_grid(points, rank), values.reshape(1, -1, rank), voxels(shape, points), ORDER[rank]
    )
    error = np.asarray(grid_spline(values, shape)).reshape(1, -1, rank) - exact
    largest = np.abs(values).max()
    assert np.abs(error).max() < 0.01 * largest
    assert np.sqrt(np.mean(error**2)) < 0.003 * largest


@pytest.mark.parametrize(("rank", "points"), [(2, 9), (3, 5)])
def test_grid_spline_passes_through_its_control_points(rank, points):
    values = random_values(points, rank, batch=2)
    spline = grid_spline(values, ((points - 1) // 2,) * rank)  # whose voxels have their centres at every second point
    inner = (slice(None), *(slice(1, None, 2),) * rank)
    np.testing.assert_allclose(spline, values[inner], atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 9), (50, 3), (1, 4, 30)])
def test_grid_spline_of_a_linear_function_is_linear_in_images_of_any_size(shape):
    points, rank = 8, len(shape)
    slopes = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 3.0], [-1.0, 0.3, 0.0]], np.float32)[:rank]
    values = (control_grid(points, rank) @ slopes + 5).reshape(1, *(points,) * rank, 3)
    expected = (voxels(shape, points) @ slopes + 5).reshape(1, *shape, 3)
    np.testing.assert_allclose(grid_spline(values, shape), expected, atol=1e-3)


def test_angles_are_those_of_scipys_intrinsic_rotations_in_millimetres():
    shape, spacing = (5, 6, 7), np.array([[2.0, 1.0, 0.5], [1.0, 1.0, 3.0]], np.float32)
    angles = np.array([[10.0, -20.0, 30.0], [-90.0, 15.0, 5.0]], np.float32)
    found = np.asarray(spline_displacement(shape, spacing, angles=angles))
    index = np.stack(np.indices(shape), -1)
    for b in range(2):
        at = (index - (np.array(shape) - 1) / 2) * spacing[b]
        expected = Rotation.from_euler("XYZ", angles[b], degrees=True).apply(at.reshape(-1, 3)).reshape(at.shape)
        np.testing.assert_allclose(at + found[b] * spacing[b], expected, atol=1e-4)


def test_an_angle_in_2d_turns_axis_0_towards_axis_1():
    found = np.asarray(spline_displacement((3, 3), np.ones((1, 2), np.float32), angles=np.array([[90.0]])))
    np.testing.assert_allclose(found[0, 2, 1], [-1, 1], atol=1e-6)  # the point (1, 0) from the centre goes to (0, 1)


@pytest.mark.parametrize("rank", [2, 3])
def test_parts_together_are_the_turned_spline_plus_the_rest(rank):
    rng = np.random.default_rng(0)
    shape, spacing = SHAPES[rank], rng.uniform(1, 3, (2, rank)).astype(np.float32)
    angles = rng.uniform(-30, 30, (2, 2 * rank - 3)).astype(np.float32)
    translation = rng.uniform(-5, 5, (2, rank)).astype(np.float32)
    control = random_values(4, rank, batch=2)
    together = np.asarray(spline_displacement(shape, spacing, angles, translation, control))
    turned = np.asarray(spline_displacement(shape, spacing, angles=angles))
    shifted = np.asarray(spline_displacement(shape, spacing, translation=translation))
    bent = np.asarray(spline_displacement(shape, spacing, control_displacements=control))
    for b in range(2):
        assert shifted[b] == pytest.approx(np.broadcast_to(translation[b] / spacing[b], shifted[b].shape), abs=1e-6)
        gaps = [np.diff(turned[b], axis=a)[(0,) * rank] for a in range(rank)]
        matrix = (np.array(gaps).T + np.eye(rank)) * spacing[b][:, None] / spacing[b]  # of millimetres
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(rank), atol=1e-4)
        expected = turned[b] + shifted[b] + (bent[b] * spacing[b]) @ matrix.T / spacing[b]
        np.testing.assert_allclose(together[b], expected, atol=2e-3)


@pytest.mark.parametrize(("order", "smooths"), [(1, False), (2, True), (3, True), (4, False)])
def test_a_warning_says_where_regularization_does_not_smooth(order, smooths):
    """SciPy turns the sign of the kernel there; tensorflow-addons did not."""
    rng = np.random.default_rng(0)
    points, values = rng.uniform(size=(1, 20, 2)), rng.normal(size=(1, 20, 1))
    with warnings.catch_warnings() if smooths else pytest.warns(UserWarning, match=f"smooth.*order={order}"):
        warnings.simplefilter("error" if smooths else "always")
        interpolate_spline(points, values, points, order, 0.1)


def test_errors_name_what_does_not_fit():
    points, values, queries = np.zeros((1, 9, 2)), np.zeros((1, 9, 1)), np.zeros((1, 4, 2))
    with pytest.raises(ValueError, match=r"must have the same n.*values.shape=\(1, 8, 1\)"):
        interpolate_spline(points, values[:, :8], queries)
    with pytest.raises(ValueError, match=r"the same rank.*queries|query_points.shape=\(1, 4, 3\)"):
        interpolate_spline(points, values, np.zeros((1, 4, 3)))
    with pytest.raises(ValueError, match="`order` must be a whole number of at least 1. Received: order=0"):
        interpolate_spline(points, values, queries, order=0)
    with pytest.raises(ValueError, match="`regularization` must be a finite number .* Received: regularization=-1"):
        interpolate_spline(points, values, queries, regularization=-1)
    with pytest.raises(ValueError, match=r"the same number of at least 3 points.*values.shape=\(1, 4, 5, 2\)"):
        grid_spline(np.zeros((1, 4, 5, 2)), (8, 8))
    with pytest.raises(ValueError, match=r"`shape` must have as many axes.*shape=\(8, 8, 8\)"):
        grid_spline(np.zeros((1, 4, 4, 2)), (8, 8, 8))


def test_the_grid_spline_is_found_under_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"is now acreg.layers.grid_spline.grid_spline"):
        assert thin_plate_spline.grid_spline is grid_spline
    with pytest.raises(AttributeError, match="has no attribute 'spline'"):
        thin_plate_spline.spline  # noqa: B018
