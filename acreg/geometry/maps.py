"""Maps from physical space to physical space, of which a transform is composed.

Points are `(n, rank)` world coordinates in mm, in array-axis order (see `Grid`). The maps of a registration take a
point of the fixed image to the corresponding point of the moving image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry.displacement import check_displacement, voxel_indices, warp_array
from acreg.geometry.grid import Grid


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
    def between_extents(cls, fixed: Grid, moving: Grid) -> Affine:
        """The map that takes the extent of `fixed` to that of `moving`, axis by axis, regardless of their positions.

        Voxel `p` of `fixed` goes to voxel `(p + 0.5) * Nm / Nf - 0.5` of `moving`.

        Raises:
            AcregError: the grids have different numbers of axes.
        """
        if fixed.rank != moving.rank:
            raise AcregError(
                "Two images that are registered have one number of axes. Received: a fixed image of shape "
                f"{fixed.shape} and a moving one of shape {moving.shape}. Give two images of one kind."
            )
        scale = np.divide(moving.shape, fixed.shape)
        return cls.between_indices(np.column_stack([np.diag(scale), 0.5 * scale - 0.5]), fixed, moving)

    @classmethod
    def between_indices(cls, indices: np.ndarray, fixed: Grid, moving: Grid) -> Affine:
        """The map that takes voxel `p` of `fixed` to `indices (p, 1)` of `moving`; `indices` is `(rank, rank + 1)`."""
        homogeneous = np.vstack([indices, np.eye(fixed.rank + 1)[-1]])
        return cls(moving.matrix @ homogeneous @ np.linalg.inv(fixed.matrix))

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

    def invert_points(self, points: np.ndarray) -> np.ndarray:
        """The points that this map takes to `points` `(n, rank)`."""
        return self.inverse()(points)


@dataclass(frozen=True, eq=False)
class Displacement:
    """A map that adds a vector, interpolated linearly between the voxels of a grid; outside the extent it adds nothing.

    As in ITK, the extent reaches half a voxel beyond the outermost centres, and the edge value is used there.

    Args:
        vectors: `(*spatial, rank)`, voxels of `grid`, component `d` along array axis `d`; kept as float32.
        grid: a grid of shape `spatial`.

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
        return points + np.where(self.grid.contains(indices)[:, None], self.in_mm(self._shift(indices)), 0.0)

    def in_mm(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors `(..., rank)` in voxels of the grid as vectors in mm along the world axes."""
        return vectors @ self.grid.matrix[:-1, :-1].T

    def invert_points(self, points: np.ndarray) -> np.ndarray:
        """The points that this map takes to `points` `(n, rank)`.

        If no point in the extent of the grid maps to a point of the extent, the field is extended by its edge value.
        A point outside the extent maps to itself only if no point in the extent maps there.

        Raises:
            AcregError: a point could not be found. Where the map folds there are several, and one of them is returned.
        """
        indices = self.grid.to_index(points)
        found, error = self._solve(indices)
        inside, missed = self.grid.contains(indices), error > 0.05
        failed = np.flatnonzero(inside & missed)
        if failed.size:
            worst = failed[np.argmax(error[failed])]
            raise AcregError(
                "A displacement is inverted by iteration, which needs a field that is not torn. Received: "
                f"{failed.size} of {len(points)} points where it failed, such as "
                f"{points[worst].round(3).tolist()} mm. See the transform's folding, or use a diffeomorphic model."
            )
        moved = inside | (self.grid.contains(found) & ~missed)
        return np.where(moved[:, None], self.grid.to_world(found), points)

    def continued_inverse(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points `(n, rank)` that this map takes to `points` if the field is extended by its edge values.

        Returns:
            The points, and the error of each, `(n,)` in voxels.
        """
        found, error = self._solve(self.grid.to_index(points))
        return self.grid.to_world(found), error

    def inverse(self) -> tuple[Displacement, float]:
        """The inverse on the same grid, and its residual.

        Where the map folds, several points map to the same voxel, and one of them is taken: check `folding` before you
        invert. Voxels whose counterpart lies outside the grid are inverted with the field extended by its edge values.

        Returns:
            The inverse `v`, and the largest `|p + v(p) + u(p + v(p)) - p|` in voxels over those `p` whose `p + v(p)`
            lies in the extent of the grid.
        """
        voxels = voxel_indices(self.grid.shape).reshape(-1, self.rank)
        found, error = self._solve(voxels)
        inside = self.grid.contains(found)
        residual = float(error[inside].max()) if inside.any() else float("inf")
        return Displacement((found - voxels).reshape(self.vectors.shape), self.grid), residual

    def _shift(self, indices: np.ndarray) -> np.ndarray:
        """The vectors `(n, rank)` in voxels at indices `(n, rank)`, extended by the edge values."""
        return np.stack(
            [
                ndimage.map_coordinates(self.vectors[..., d], indices.T, order=1, mode="nearest", output=float)
                for d in range(self.rank)
            ],
            axis=1,
        )

    def _solve(
        self, targets: np.ndarray, iterations: int = 50, tolerance: float = 1e-4
    ) -> tuple[np.ndarray, np.ndarray]:
        """Indices `x` with `x + u(x)` = `targets` `(n, rank)`, and their errors, `(n,)`, in voxels.

        Fixed-point iteration `x <- x + w (target - x - u(x))` (Chen et al., Med. Phys. 2008, with w = 1). It converges
        where the eigenvalues of the Jacobian lie between 0 and 2 / w, so points that have not converged get smaller and
        smaller steps, and finally those of Newton's method.
        """
        found = targets.copy()
        error = np.full(len(targets), np.inf)
        left = np.arange(len(targets))
        for weight in (1.0, 0.5, 0.2, 0.05):
            x, goal = targets[left].copy(), targets[left]
            going = np.arange(len(goal))
            for _ in range(iterations):
                step = goal[going] - x[going] - self._shift(x[going])
                wide = np.abs(step).max(axis=1) > tolerance
                going = going[wide]
                if going.size == 0:
                    break
                x[going] += weight * step[wide]
            miss = np.linalg.norm(goal - x - self._shift(x), axis=1)
            better = miss < error[left]
            found[left[better]], error[left[better]] = x[better], miss[better]
            left = left[error[left] > 10 * tolerance]
            if left.size == 0:
                return found, error
        x = self._by_newton(found[left], targets[left])
        miss = np.linalg.norm(targets[left] - x - self._shift(x), axis=1)
        better = miss < error[left]
        found[left[better]], error[left[better]] = x[better], miss[better]
        return found, error

    def _by_newton(self, x: np.ndarray, targets: np.ndarray, iterations: int = 20) -> np.ndarray:
        """Better solutions of `x + u(x)` = `targets` by Newton's method, in steps of at most a voxel.

        Used for the few points where the derivative of the map is close to 0 along some direction; starts from nearby
        points.
        """
        aside = 1e-3 * np.eye(self.rank)
        for _ in range(iterations):
            slopes = [(self._shift(x + d) - self._shift(x - d)) / 2e-3 for d in aside]
            jacobian = np.eye(self.rank) + np.stack(slopes, axis=-1)
            step = (np.linalg.pinv(jacobian) @ (targets - x - self._shift(x))[..., None])[..., 0]
            x = x + step / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1.0)
        return x


@dataclass(frozen=True, eq=False)
class Velocity:
    """The flow of a stationary velocity over unit time, by scaling and squaring.

    Args:
        vectors: `(*spatial, rank)`, voxels of `grid` per unit time; kept as float32.
        grid: a grid of shape `spatial`.
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
        return self.displacement(points)

    @cached_property
    def displacement(self) -> Displacement:
        """The flow as a displacement on the same grid (Arsigny et al., MICCAI 2006)."""
        u = self.vectors / np.float32(2**self.steps)
        for _ in range(self.steps):
            u = u + np.stack([warp_array(u[..., d], u) for d in range(self.rank)], axis=-1)
        return Displacement(u, self.grid)

    def inverse(self) -> Velocity:
        """The flow backward in time."""
        return Velocity(-self.vectors, self.grid, self.steps)

    def invert_points(self, points: np.ndarray) -> np.ndarray:
        """The points that this map takes to `points` `(n, rank)`: those of the flow as it is sampled on the grid.

        The flow backward in time is sampled separately, and differs from these points slightly (see
        `Transform.inverse`).

        Raises:
            AcregError: as `Displacement.invert_points`.
        """
        return self.displacement.invert_points(points)


Map = Affine | Displacement | Velocity
"""The maps of which a transform can be composed."""


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
