"""Phantoms are functions of a point in mm, so that a known map needs no resampling."""

import numpy as np
import pytest

from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Grid, Image
from acreg.optimisation.linear import linear

OBLIQUE = ((0.0, 0.0, -1.0), (np.cos(0.4), -np.sin(0.4), 0.0), (np.sin(0.4), np.cos(0.4), 0.0))
GRIDS = {
    2: (Grid((70, 60), (2.0, 2.5), (-70.0, -75.0)), Grid((80, 90), (2.2, 1.8), (-88.0, -81.0))),
    3: (
        Grid((44, 36, 36), (4.0, 5.0, 5.0), (-88.0, -90.0, -90.0)),
        Grid((24, 48, 48), (8.0, 4.0, 4.0), (-92, -96, -96)),
    ),
}
BLOBS = np.random.default_rng(3)
CENTRES, WIDTHS, HEIGHTS = BLOBS.uniform(-38, 38, (14, 3)), BLOBS.uniform(8, 16, 14), BLOBS.uniform(-70, 90, 14)


def anatomy(points):
    """A soft ellipsoid with blobs, 0 outside of it; nothing in it is symmetric."""
    rank = points.shape[-1]
    value = np.full(points.shape[:-1], 100.0)
    for centre, width, height in zip(CENTRES[:, :rank], WIDTHS, HEIGHTS):
        value += height * np.exp(-((points - centre) ** 2).sum(-1) / (2 * width**2))
    axes = np.array([64.0, 52.0, 44.0])[:rank]
    return value / (
        1 + np.exp(16 * (np.sqrt((points**2).sum(-1) / axes.mean() ** 2 * 0 + ((points / axes) ** 2).sum(-1)) - 1))
    )


def seen(grid, matrix=None, contrast=None):
    """The image on a grid of the anatomy moved by a homogeneous matrix."""
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    if matrix is not None:
        points = Affine(matrix).inverse()(points.reshape(-1, grid.rank)).reshape(points.shape)
    array = anatomy(points)
    return Image(array if contrast is None else contrast(array), grid)


def turn(rank, degrees, axis=0):
    a = np.deg2rad(degrees)
    matrix = np.eye(rank + 1)
    i, j = [d for d in range(rank) if rank == 2 or d != axis]
    matrix[[i, i, j, j], [i, j, i, j]] = np.cos(a), -np.sin(a), np.sin(a), np.cos(a)
    return matrix


def true_map(kind, rank):
    matrix = (
        turn(rank, 14) @ (turn(rank, -9, 2) if rank == 3 else np.eye(3)) if kind != "translation" else np.eye(rank + 1)
    )
    if kind == "similarity":
        matrix[:rank, :rank] *= 1.12
    if kind == "affine":
        matrix[:rank, :rank] = matrix[:rank, :rank] @ (np.diag([1.1, 0.92, 1.05][:rank]) + 0.06 * np.eye(rank, k=1))
    matrix[:rank, rank] = [9.0, -6.0, 11.0][:rank]
    return matrix


def miss(found, matrix):
    """Largest distance in mm between two maps over the fixed anatomy."""
    rank = found.rank
    points = np.random.default_rng(0).uniform(-50, 50, (500, rank))
    return np.linalg.norm(found(points) - Affine(matrix)(points), axis=1).max()


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kind", ["translation", "rigid", "similarity", "affine"])
def test_a_known_map_is_found(kind, rank):
    matrix = true_map(kind, rank)
    found, record = linear(fixed=seen(GRIDS[rank][0]), moving=seen(GRIDS[rank][1], matrix), kind=kind)
    print(kind, rank, miss(found, matrix), record)
    assert miss(found, matrix) < (0.6 if rank == 2 else 0.8)
    assert record["kind"] == kind
    assert record["after"] > record["before"]


if __name__ == "__main__":
    import time

    for rank in (2, 3):
        for kind in ("translation", "rigid", "similarity", "affine"):
            matrix = true_map(kind, rank)
            f, m = seen(GRIDS[rank][0]), seen(GRIDS[rank][1], matrix)
            t = time.process_time()
            found, record = linear(fixed=f, moving=m, kind=kind)
            t = time.process_time() - t
            g, _ = linear(fixed=m, moving=f, kind=kind)
            print(
                rank,
                kind,
                "miss %.3f" % miss(found, matrix),
                "swap %.4f" % miss(g.inverse(), found.matrix),
                record["start"],
                "%.3f %.3f" % (record["before"], record["after"]),
                "%.2f s" % t,
            )
            inv, _ = linear(fixed=f, moving=seen(GRIDS[rank][1], matrix, lambda a: 255 - a), kind=kind)
            rem, _ = linear(fixed=f, moving=seen(GRIDS[rank][1], matrix, lambda a: np.abs(a - 110)), kind=kind)
            print("   inverted %.3f folded %.3f" % (miss(inv, matrix), miss(rem, matrix)))
            for grid in GRIDS[rank][1:]:
                mm = seen(grid, matrix)
                pad = 9
                padded = Image(np.pad(mm.array, pad), grid.part([-pad] * rank, np.array(grid.shape) + 2 * pad))
                p, _ = linear(fixed=f, moving=padded, kind=kind)
                axes = list(range(rank))[::-1]
                d = np.asarray(grid.direction)[:, axes]
                ro = Image(
                    np.transpose(mm.array, axes),
                    Grid(
                        tuple(np.take(grid.shape, axes)),
                        tuple(np.take(grid.spacing, axes)),
                        grid.origin,
                        tuple(map(tuple, d)),
                    ),
                )
                fl = Image(
                    np.flip(ro.array, 0),
                    Grid(
                        ro.grid.shape,
                        ro.grid.spacing,
                        tuple(ro.grid.to_world(np.array([ro.grid.shape[0] - 1] + [0] * (rank - 1)))),
                        tuple(map(tuple, d * ([-1] + [1] * (rank - 1)))),
                    ),
                )
                q, _ = linear(fixed=f, moving=fl, kind=kind)
                finer = Grid(
                    tuple(int(n * 1.25) for n in grid.shape),
                    tuple(x / 1.25 for x in grid.spacing),
                    grid.origin,
                    grid.direction,
                )
                w, _ = linear(fixed=f, moving=seen(finer, matrix), kind=kind)
                print(
                    "   padded %.4f reoriented %.4f resampled %.4f"
                    % (miss(p, found.matrix), miss(q, found.matrix), miss(w, found.matrix))
                )
