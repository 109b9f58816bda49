"""Surfaces of regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import Image
from acreg.shapes import read_surfaces, region_surface, thinned, write_surfaces


def ball(
    shape: tuple[int, ...], spacing: tuple[float, ...], radius: float, direction: np.ndarray | None = None
) -> Image:
    """Label 1 within `radius` mm of the middle, label 2 beyond that up to 1.4 radii."""
    grid = Grid(shape, spacing, (5.0, -3.0, 20.0)[: len(shape)], () if direction is None else direction)  # type: ignore[arg-type]
    middle = grid.to_world((np.array(shape) - 1) / 2)
    places = grid.to_world(np.moveaxis(np.indices(shape), 0, -1))
    length = np.linalg.norm(places - middle, axis=-1)
    return Image(
        (length < radius).astype(int) + ((length >= radius) & (length < 1.4 * radius)) * 2, grid, "labels", "ball"
    )


def enclosed(surface) -> float:
    """Signed area or volume: positive where the normals point outwards."""
    return float((surface.centres * surface.normals).sum() / surface.rank)


@pytest.mark.parametrize(
    ("shape", "spacing", "edge"),
    [((30, 40, 40), (1, 1, 1), 2.0), ((11, 40, 40), (3, 1, 1), 3.0), ((50, 40), (1, 1), 2.0)],
)
def test_a_ball_has_its_size_place_and_closed_surface(shape, spacing, edge) -> None:
    surface = region_surface(ball(shape, spacing, 10.0), [1], edge)
    middle = Grid(shape, spacing, (5.0, -3.0, 20.0)[: len(shape)]).to_world((np.array(shape) - 1) / 2)
    lengths = np.linalg.norm(surface.points - middle, axis=1)
    assert np.abs(lengths - 10).mean() < 0.5
    np.testing.assert_allclose(surface.normals.sum(axis=0), 0, atol=1e-6)
    assert enclosed(surface) == pytest.approx(np.pi * 100 if len(shape) == 2 else 4 / 3 * np.pi * 1000, rel=0.1)
    if len(shape) == 2:
        assert (np.bincount(surface.cells.ravel()) == 2).all()


def test_every_edge_of_a_closed_surface_has_two_triangles() -> None:
    cells = region_surface(ball((30, 30, 30), (1, 1, 1), 9.0), [1], 2.0).cells
    edges = np.sort(np.concatenate([cells[:, [0, 1]], cells[:, [1, 2]], cells[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_regions_are_unions_and_mirrored_worlds_keep_normals_outwards() -> None:
    labels = ball((36, 36, 36), (1, 1, 1), 9.0)
    assert enclosed(region_surface(labels, [1, 2], 2.0)) > 2 * enclosed(region_surface(labels, [1], 2.0))
    mirrored = ball((36, 36, 36), (1, 1, 1), 9.0, np.diag([1, 1, -1]))
    assert enclosed(region_surface(mirrored, [1], 2.0)) > 0


def test_a_region_at_the_border_is_closed_there() -> None:
    array = np.zeros((20, 20, 20), int)
    array[:10, 5:15, 5:15] = 1
    surface = region_surface(Image(array, Grid(array.shape), "labels"), [1], 1.0)
    np.testing.assert_allclose(surface.normals.sum(axis=0), 0, atol=1e-6)
    assert surface.points[:, 0].min() == pytest.approx(-0.5, abs=0.3)


def test_a_small_piece_is_dropped_and_large_pieces_are_refused() -> None:
    array = (ball((30, 30, 30), (1, 1, 1), 9.0).array == 1).astype(int)
    array[1, 1, 1] = 1
    surface = region_surface(Image(array, Grid(array.shape), "labels"), [1], 2.0)
    assert surface.points.min() > 3
    array[:4] = 1
    with pytest.raises(AcregError, match=r"one piece.*label 1 in a label map in 2 pieces"):
        region_surface(Image(array, Grid(array.shape), "labels"), [1], 2.0)


def test_what_has_no_surface_is_refused() -> None:
    labels = ball((20, 20, 20), (1, 1, 1), 6.0)
    with pytest.raises(AcregError, match="no voxel of label 3 in ball"):
        region_surface(labels, [3], 2.0)
    thin = np.zeros((20, 20, 20), int)
    thin[9, 3:17, 3:17] = 1
    with pytest.raises(AcregError, match="thicker than the edges.*Lower the edge"):
        region_surface(Image(thin, Grid(thin.shape), "labels"), [1], 6.5)
    with pytest.raises(AcregError, match="positive, in mm"):
        region_surface(labels, [1], 0.0)


def test_thinned_points_keep_their_distance_and_leave_no_gap() -> None:
    points = np.random.default_rng(0).uniform(0, 10, (400, 3))
    kept = points[thinned(points, 2.0)]
    apart = np.linalg.norm(kept[:, None] - kept, axis=-1)
    assert apart[~np.eye(len(kept), dtype=bool)].min() > 2.0
    assert np.linalg.norm(points[:, None] - kept, axis=-1).min(axis=1).max() <= 2.0


def test_surfaces_are_read_as_written(tmp_path: Path) -> None:
    labels = ball((24, 24, 24), (1, 1, 1), 6.0)
    surfaces = [region_surface(labels, [1], 2.0), region_surface(labels, [1, 2], 2.0)]
    write_surfaces(surfaces, tmp_path / "a" / "s.h5")
    for found, expected in zip(read_surfaces(tmp_path / "a" / "s.h5"), surfaces, strict=True):
        np.testing.assert_array_equal(found.points, expected.points)
        np.testing.assert_array_equal(found.cells, expected.cells)
    cut = tmp_path / "cut.h5"
    cut.write_bytes((tmp_path / "a" / "s.h5").read_bytes()[:2000])
    with pytest.raises(AcregError, match="whole surface file"):
        read_surfaces(cut)
