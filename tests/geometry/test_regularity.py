import itertools

import numpy as np
import pytest
from scipy import ndimage

from acreg.geometry import folding, jacobian_determinant
from acreg.geometry.regularity import non_diffeomorphic_percent


def identity(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(float)


@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 7)])
def test_identity_has_no_folding(shape):
    numbers = folding(np.zeros((*shape, len(shape)), np.float32))
    assert numbers == {"folded_percent": 0.0, "ndv_percent": 0.0, "sd_log_j": 0.0, "sd_log_j_learn2reg": 0.0}


def test_share_of_a_field_that_folds_in_known_rows():
    rows = np.arange(100.0)
    u = np.zeros((100, 10, 2))
    u[..., 0] = np.where(rows < 30, -2.0 * (rows - 30), 0.0)[:, None]
    # p + u runs backwards in rows 0 to 29 (determinant -1); at the kink, row 30, the central difference is exactly 0.
    assert folding(u)["folded_percent"] == pytest.approx(31.0)


@pytest.mark.parametrize("amplitude", [0.5, 1.5, 4.0])
def test_share_of_a_periodic_field_is_the_analytic_one(amplitude):
    n = 2000
    phase = 2 * np.pi * np.arange(n) / n
    u = np.zeros((n, 4, 2))
    u[..., 0] = (amplitude * n / (2 * np.pi) * np.sin(phase))[:, None]  # determinant 1 + amplitude * cos(phase)
    share = np.arccos(np.clip(1 / amplitude, -1, 1)) / np.pi
    assert folding(u)["folded_percent"] == pytest.approx(100 * share, abs=0.2)


def test_determinant_zero_counts_as_folded():
    u = -identity((5, 5))  # everything falls onto one point
    assert folding(u)["folded_percent"] == 100.0


def test_sd_log_j_against_the_formula_in_plain_numpy():
    rng = np.random.default_rng(1)
    u = rng.normal(scale=0.5, size=(12, 13, 2))
    dr, dc = np.gradient(u, axis=(0, 1))
    jacobian = np.stack([dr, dc], axis=-1) + np.eye(2)
    det = np.linalg.det(jacobian)
    logs = np.log(np.clip(det, 1e-9, None))
    result = folding(u)
    assert result["sd_log_j"] == pytest.approx(np.sqrt(np.mean((logs - logs.mean()) ** 2)))
    assert result["folded_percent"] == pytest.approx(100 * np.mean(det <= 0))
    assert 0 < result["folded_percent"] < 100


def test_not_a_number_counts_as_folded():
    u = np.zeros((10, 10, 2))
    u[5, 5] = np.nan
    numbers = folding(u)
    assert numbers["folded_percent"] > 0 and np.isnan(numbers["ndv_percent"])


# The two cuts of a cell, by the corners of each simplex; orientation is taken from the undeformed cell.
TRIANGLES = [
    [((0, 0), (1, 0), (0, 1)), ((1, 1), (1, 0), (0, 1))],
    [((1, 0), (0, 0), (1, 1)), ((0, 1), (0, 0), (1, 1))],
]
CUBE = list(itertools.product((0, 1), repeat=3))


def tetrahedra(parity):
    """Five tetrahedra that fill a cube: at the corners of one parity, and that of the other four corners."""
    at = [corner for corner in CUBE if sum(corner) % 2 == parity]
    others = [corner for corner in CUBE if sum(corner) % 2 != parity]
    near = [[other for other in others if sum(abs(a - b) for a, b in zip(corner, other)) == 1] for corner in at]
    return [(corner, *beside) for corner, beside in zip(at, near)] + [tuple(others)]


def signed_volume(corners):
    corners = np.asarray(corners, dtype=float)
    return np.linalg.det(corners[1:] - corners[0])


def brute_force_ndv(u):
    """Cell by cell, simplex by simplex."""
    rank = u.shape[-1]
    points = identity(u.shape[:-1]) + u
    cuts = TRIANGLES if rank == 2 else [tetrahedra(0), tetrahedra(1)]
    negative, cells = 0.0, 0
    for cell in np.ndindex(*(n - 1 for n in u.shape[:-1])):
        cells += 1
        for cut in cuts:
            for simplex in cut:
                plain = signed_volume(simplex)
                moved = signed_volume([points[tuple(np.add(cell, corner))] for corner in simplex])
                negative += max(0.0, -moved * np.sign(plain)) / (2 if rank == 2 else 6)
    return 100 * negative / 2 / cells


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
@pytest.mark.parametrize("cells", [1, 1 << 15])
def test_ndv_equals_brute_force(shape, cells, monkeypatch):
    monkeypatch.setattr("acreg.geometry.regularity.CELLS", cells)
    u = np.random.default_rng(len(shape)).normal(scale=0.8, size=(*shape, len(shape)))
    ndv = non_diffeomorphic_percent(u)
    assert ndv > 5
    assert ndv == pytest.approx(brute_force_ndv(u), rel=1e-9)


@pytest.mark.parametrize("rank", [2, 3])
def test_ndv_of_a_field_that_folds_in_known_rows(rank):
    rows = np.arange(41.0)
    u = np.zeros((41, 6, 7)[:rank] + (rank,))
    u[..., 0] = np.where(rows < 10, -3.0 * (rows - 10), 0.0).reshape(-1, *[1] * (rank - 1))
    # p + u runs back in the first 10 of 40 layers of cells, two voxels a step: twice their volume.
    assert folding(u)["ndv_percent"] == pytest.approx(100 * 10 / 40 * 2)


@pytest.mark.parametrize("rank", [2, 3])
def test_ndv_sees_the_voxel_that_central_differences_pass_over(rank):
    u = np.zeros((7,) * rank + (rank,))
    u[(3,) * rank] = [2.0, *[0.0] * (rank - 1)]
    determinant = jacobian_determinant(u)
    assert determinant[(3,) * rank] == 1 and (determinant >= 0).all()
    # Moved by 2 the voxel turns the simplices behind it over; those that hold it by their base stay as they were.
    assert folding(u)["ndv_percent"] == pytest.approx(brute_force_ndv(u)) and folding(u)["ndv_percent"] > 0.3


def test_ndv_of_a_turned_and_stretched_grid_is_zero_and_of_a_mirrored_one_its_volume():
    turned = np.array([[0.0, -2.0], [1.5, 0.0]])
    grid = identity((9, 8))
    assert non_diffeomorphic_percent(grid @ turned.T - grid) == 0
    assert non_diffeomorphic_percent(grid * [-3.0, 0.5] - grid) == pytest.approx(150)


@pytest.mark.parametrize("shape", [(12, 9), (8, 9, 10)])
def test_sd_log_j_of_learn2reg_against_its_formula(shape):
    rank = len(shape)
    u = np.random.default_rng(4).normal(scale=1.5, size=(*shape, rank))
    jacobian = np.zeros((*shape, rank, rank))
    for component, axis in np.ndindex(rank, rank):
        weights = np.array([-0.5, 0.0, 0.5]).reshape([3 if d == axis else 1 for d in range(rank)])
        jacobian[..., component, axis] = ndimage.correlate(u[..., component], weights, mode="constant")
    determinant = np.linalg.det(jacobian + np.eye(rank))[(slice(2, -2),) * rank]
    assert determinant.min() < -3, "the clip matters"
    expected = np.log(np.clip(determinant + 3, 1e-9, 1e9)).std()
    assert folding(u)["sd_log_j_learn2reg"] == pytest.approx(expected)


def test_sd_log_j_of_learn2reg_needs_an_inside():
    assert np.isnan(folding(np.zeros((4, 9, 2)))["sd_log_j_learn2reg"])
    assert folding(np.zeros((5, 9, 2)))["sd_log_j_learn2reg"] == 0
