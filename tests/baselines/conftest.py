from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from acreg.geometry import Grid
from acreg.io import Image


class Known(NamedTuple):
    """Two images of one scene, and landmarks `(n, rank)` in both, mm."""

    fixed: Image
    moving: Image
    points: np.ndarray
    expected: np.ndarray

    def errors(self, transform) -> np.ndarray:
        return np.linalg.norm(transform.warp_points(self.points, to="moving") - self.expected, axis=1)

    @property
    def before(self) -> float:
        return float(np.linalg.norm(self.points - self.expected, axis=1).mean())


def centred(shape, spacing, direction, middle):
    shift = np.asarray(direction) @ (np.multiply(spacing, np.array(shape) - 1) / 2)
    return Grid(shape, spacing, tuple(np.asarray(middle) - shift), direction)


# Anisotropic, oblique or with axes exchanged and turned, one right- and one left-handed, middles 2.4 mm apart.
GRIDS = {
    2: (
        centred((64, 56), (1.0, 1.2), ((0.8, 0.6), (0.6, -0.8)), (30.0, -40.0)),
        centred((60, 70), (1.1, 1.0), ((0.0, -1.0), (1.0, 0.0)), (32.0, -41.0)),
    ),
    3: (
        centred(
            (24, 36, 34),
            (2.0, 1.2, 1.3),
            Rotation.from_euler("xyz", (0.3, -0.5, 0.2)).as_matrix(),
            (-100.0, 30.0, 4.0),
        ),
        centred((38, 36, 40), (1.2, 1.3, 1.1), np.eye(3)[[2, 0, 1]] * [1, -1, 1], (-98.0, 29.0, 5.0)),
    ),
}


@pytest.fixture(scope="session")
def known_pair() -> Callable[[int, bool], Known]:
    """Makes a pair of a rank whose true map is affine, or affine after waves of 1.5 mm (`deformed`)."""

    def make(rank: int, deformed: bool) -> Known:
        rng = np.random.default_rng(0)
        fixed, moving = GRIDS[rank]
        middle = fixed.to_world((np.array(fixed.shape) - 1) / 2)
        blobs = middle + rng.uniform(-20, 20, (8 * (2 * rank - 2), rank))
        heights = rng.uniform(30, 100, len(blobs))
        matrix = np.eye(rank) + rng.uniform(-0.06, 0.06, (rank, rank))

        def truth(points):
            local = points - middle
            if deformed:
                local = local + 1.5 * np.sin(2 * np.pi * local[..., ::-1] / 40 + np.arange(rank))
            return local @ matrix.T + middle + [2.5, -1.5, 2.0][:rank]

        def scene(points):
            values = 100 * np.exp(-np.sum((points - middle) ** 2, -1) / (2 * 14**2))
            for blob, height in zip(blobs, heights):
                values += height * np.exp(-np.sum((points - blob) ** 2, -1) / (2 * 3**2))
            return values

        worlds = (grid.to_world(np.stack(np.indices(grid.shape), -1)) for grid in (fixed, moving))
        arrays = scene(truth(next(worlds))), scene(next(worlds))
        points = middle + rng.uniform(-12, 12, (60, rank))
        return Known(Image(arrays[0], fixed, name="a"), Image(arrays[1], moving, name="b"), points, truth(points))

    return make
