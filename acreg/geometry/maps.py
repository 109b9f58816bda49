"""Maps from physical space to physical space: what a transform is made of.

Points are `(n, rank)` world coordinates in mm, in array-axis order (see `Grid`). A registration's maps take a point of
the fixed image to where it lies in the moving one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry.displacement import check_displacement, warp_array
from acreg.geometry.grid import Grid

EDGE = 1e-6
"""Voxels by which a point may lie beyond an extent and still count as on its edge: rounding."""


@dataclass(frozen=True, eq=False)
class Affine:
    """An affine map.

    Args:
        matrix: `(rank + 1, rank + 1)`, homogeneous, mm; its last row is (0, .., 0, 1).

    Raises:
        AcregError: the matrix has another shape or last row, is not finite, or cannot be inverted.
    """

    matrix: np.ndarray

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=float)
        rank = len(matrix) - 1
        if matrix.shape not in ((3, 3), (4, 4)) or not np.isfinite(matrix).all():
            raise AcregError(
                f"An affine map is a finite 3x3 (2-D) or 4x4 (3-D) matrix. Received: shape {matrix.shape}, "
                f"{matrix.tolist()}."
            )
        if not np.allclose(matrix[-1], np.eye(rank + 1)[-1]):
            raise AcregError(f"The last row of an affine matrix is 0, .., 0, 1. Received: {matrix[-1].tolist()}.")
        if np.linalg.cond(matrix[:-1, :-1]) > 1e12:
            raise AcregError(f"An affine map can be inverted. Received: {matrix.tolist()}.")
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls, rank: int) -> Affine:
        """The map that moves nothing."""
        return cls(np.eye(rank + 1))

    @classmethod
    def between_extents(cls, fixed: Grid, moving: Grid) -> Affine:
        """The map that lays the extent of `fixed` over that of `moving`, axis on axis, whatever their positions.

        Voxel `p` of the one goes to `(p + 0.5) * Nm / Nf - 0.5` of the other.
        """
        scale = np.divide(moving.shape, fixed.shape)
        indices = np.diag([*scale, 1.0])
        indices[:-1, -1] = 0.5 * scale - 0.5
        return cls(moving.matrix @ indices @ np.linalg.inv(fixed.matrix))

    @property
    def rank(self) -> int:
        """2 or 3."""
        return len(self.matrix) - 1

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points `(n, rank)`."""
        return points @ self.matrix[:-1, :-1].T + self.matrix[:-1, -1]

    def inverse(self) -> Affine:
        """The inverse map, exact."""
        return Affine(np.linalg.inv(self.matrix))


@dataclass(frozen=True, eq=False)
class Displacement:
    """A map that adds a vector, interpolated linearly between the voxels of a grid; outside its extent, none.

    The extent reaches half a voxel beyond the outermost centres, where the edge value counts: ITK's rule.

    Args:
        vectors: `(*spatial, rank)`, voxels of `grid`, component `d` along array axis `d`; kept as float32.
        grid: of shape `spatial`.

    Raises:
        AcregError: shapes do not fit, or a value is not finite.
    """

    vectors: np.ndarray
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", _checked_vectors(self.vectors, self.grid))

    @property
    def rank(self) -> int:
        """2 or 3."""
        return self.grid.rank

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points `(n, rank)`."""
        indices = self.grid.to_index(points)
        sizes = np.array(self.grid.shape)
        inside = np.all((indices >= -0.5 - EDGE) & (indices <= sizes - 0.5 + EDGE), axis=1)
        shift = np.stack(
            [
                ndimage.map_coordinates(self.vectors[..., d], indices.T, order=1, mode="nearest", output=float)
                for d in range(self.rank)
            ],
            axis=1,
        )
        return points + np.where(inside[:, None], self.in_mm(shift), 0.0)

    def in_mm(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors `(..., rank)` in voxels of the grid as vectors in mm along the world axes."""
        return vectors @ self.grid.matrix[:-1, :-1].T

    def inverse(self, iterations: int = 100, tolerance: float = 1e-3) -> tuple[Displacement, float]:
        """The inverse on the same grid, by fixed-point iteration `v(p) <- -u(p + v(p))` (Chen et al., Med. Phys. 2008).

        It ends when no voxel changes by more than `tolerance` voxels, or after `iterations`. Where the map folds, or
        maps from outside of the grid, there is no inverse and the residual says so.

        Returns:
            The inverse, and the residual: the largest `|v(p) + u(p + v(p))|` in voxels over those `p` whose
            `p + v(p)` lies on the grid.
        """
        inverse = -self.vectors
        for _ in range(iterations):
            change = self._step(inverse) - inverse
            inverse = inverse + change
            if np.abs(change).max() <= tolerance:
                break
        left = np.linalg.norm(self._step(inverse) - inverse, axis=-1)
        points = inverse + np.stack(np.indices(self.grid.shape), axis=-1)
        on_grid = np.all((points >= 0) & (points <= np.array(self.grid.shape) - 1), axis=-1)
        residual = float(left[on_grid].max()) if on_grid.any() else float("inf")
        return Displacement(inverse, self.grid), residual

    def _step(self, inverse: np.ndarray) -> np.ndarray:
        return -np.stack([warp_array(self.vectors[..., d], inverse) for d in range(self.rank)], axis=-1)


@dataclass(frozen=True, eq=False)
class Velocity:
    """The flow of a stationary velocity over unit time, by scaling and squaring.

    Args:
        vectors: `(*spatial, rank)`, voxels of `grid` per unit time; kept as float32.
        grid: of shape `spatial`.
        steps: squarings.

    Raises:
        AcregError: as `Displacement`, or a negative number of steps.
    """

    vectors: np.ndarray
    grid: Grid
    steps: int = 7

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise AcregError(f"The number of squarings is not negative. Received: steps={self.steps}.")
        object.__setattr__(self, "vectors", _checked_vectors(self.vectors, self.grid))

    @property
    def rank(self) -> int:
        """2 or 3."""
        return self.grid.rank

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points `(n, rank)`."""
        return self.displacement()(points)

    def displacement(self) -> Displacement:
        """The flow as a displacement on the same grid (Arsigny et al., MICCAI 2006)."""
        u = self.vectors / np.float32(2**self.steps)
        for _ in range(self.steps):
            u = u + np.stack([warp_array(u[..., d], u) for d in range(self.rank)], axis=-1)
        return Displacement(u, self.grid)

    def inverse(self) -> Velocity:
        """The flow back in time."""
        return Velocity(-self.vectors, self.grid, self.steps)


def _checked_vectors(vectors: np.ndarray, grid: Grid) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    check_displacement(vectors)
    if vectors.shape[:-1] != grid.shape:
        raise AcregError(f"A field has the shape of its grid. Received: field {vectors.shape}, grid {grid.shape}.")
    bad = int(np.count_nonzero(~np.isfinite(vectors)))
    if bad:
        raise AcregError(
            f"A field is finite. Received: {bad} values that are NaN or infinite. Check where it comes from."
        )
    return vectors
