"""The sampling grid of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from acreg.errors import AcregError

if TYPE_CHECKING:
    import SimpleITK as sitk

ROUNDING = 1e-6
"""Voxels by which a point may miss the border of an extent and still count as on it."""
NEAREST = (1.0, 0.9, 0.8)
"""Weights of the world axes (z, y, x) in the search for the axis nearest to a normal: they break ties at 45 degrees."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie: voxel `i` has its centre at `origin + direction @ (spacing * i)`.

    Everything is in array-axis order, world coordinates included. For a volume read from a medical file the axes are
    (z, y, x), and the world axes are those of ITK (left, posterior, superior) in reverse order: (superior, posterior,
    left). So a grid is ITK's geometry with every list, and both axes of the direction, reversed.

    Args:
        shape: voxels per axis, 2 or 3 axes.
        spacing: distance between neighbouring voxel centres per axis, mm (ones if left out).
        origin: world position of the centre of voxel 0, mm (zeros if left out).
        direction: `(rank, rank)`, column `d` is the unit vector of array axis `d` (identity if left out).
        plane: for a 2-D grid that is a slice of a volume, `(3, 4)`: the point `p` in the world of this grid lies at
            `plane @ (0, *p, 1)` in the world of the volume, and at `plane @ (1, *p, 1)` in the next slice. Left out if
            the position of a slice is unknown. The comparison of two grids ignores their planes.

    Raises:
        AcregError: the arguments contradict each other, a spacing is not positive, or the columns of a direction are
            not unit vectors that span the space.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    direction: tuple[tuple[float, ...], ...] = ()
    plane: tuple[tuple[float, ...], ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        rank = len(shape)
        if rank not in (2, 3) or min(shape) < 1 or shape != tuple(self.shape):
            raise AcregError(
                f"A grid has 2 or 3 axes with at least one voxel each. Received: shape={tuple(self.shape)}."
            )
        spacing = _numbers("spacing", self.spacing, rank, 1.0)
        if min(spacing) <= 0:
            raise AcregError(
                f"The spacing of a grid is positive. Received: spacing={spacing}. Give mm per voxel, by axis."
            )
        origin = _numbers("origin", self.origin, rank, 0.0)
        direction = np.asarray(self.direction, dtype=float) if np.size(self.direction) else np.eye(rank)
        if direction.shape != (rank, rank) or not np.isfinite(direction).all():
            raise AcregError(
                f"The direction of a grid with {rank} axes is a {rank}x{rank} matrix. Received: {self.direction}."
            )
        lengths = np.linalg.norm(direction, axis=0)
        if np.abs(lengths - 1).max() > 1e-3 or abs(np.linalg.det(direction)) < 1e-3:
            raise AcregError(
                "The columns of a grid's direction are unit vectors that span the space. "
                f"Received: direction={direction.tolist()}. Put lengths into the spacing."
            )
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "origin", origin)
        plane = np.asarray(self.plane, dtype=float)
        if plane.size and not (rank == 2 and _is_plane(plane)):
            raise AcregError(
                "The plane of a 2-D grid is a 3x4 matrix: a step out of the plane, two unit vectors at right angles in "
                f"it, and a point. Received: {plane.tolist()} for shape {shape}."
            )
        object.__setattr__(self, "direction", tuple(tuple(float(x) for x in row) for row in direction))
        object.__setattr__(self, "plane", tuple(tuple(float(x) for x in row) for row in plane))

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def matrix(self) -> np.ndarray:
        """`(rank + 1, rank + 1)`: maps voxel indices to world coordinates, both homogeneous in array-axis order."""
        matrix = np.eye(self.rank + 1)
        matrix[:-1, :-1] = np.asarray(self.direction) * self.spacing
        matrix[:-1, -1] = self.origin
        return matrix

    def to_world(self, indices: np.ndarray) -> np.ndarray:
        """World coordinates `(..., rank)` in mm of voxel indices `(..., rank)`, which may be fractions."""
        return np.asarray(indices, dtype=float) @ self.matrix[:-1, :-1].T + self.origin

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Voxel indices `(..., rank)`, as fractions, of world coordinates `(..., rank)` in mm."""
        return (np.asarray(points, dtype=float) - self.origin) @ np.linalg.inv(self.matrix[:-1, :-1]).T

    def contains(self, indices: np.ndarray) -> np.ndarray:
        """Whether each of the indices `(..., rank)` lies in the extent.

        The extent reaches half a voxel beyond the outer centres. As in ITK, the lower border belongs to the extent, and
        the upper border does not.
        """
        inside = np.ones(indices.shape[:-1], bool)
        for axis in range(self.rank):  # NumPy's `all` over such a short axis takes five times as long
            inside &= self.within(indices[..., axis], axis)
        return inside

    def within(self, indices: np.ndarray, axis: int) -> np.ndarray:
        """Whether each of the indices along one axis lies in the extent along it: see `contains`."""
        return (indices >= -0.5 - ROUNDING) & (indices < self.shape[axis] - 0.5 - ROUNDING)

    def world_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """For each world axis, the array axis closest to it, and 1 if its index grows with that coordinate, else -1."""
        direction = np.asarray(self.direction)
        _, axes = optimize.linear_sum_assignment(-np.abs(direction))
        return axes, np.where(direction[range(self.rank), axes] < 0, -1, 1)

    def reoriented(self) -> Grid:
        """The same voxels with the axes in the order and direction nearest to those of the world.

        Axis `d` of the result is the one closest to world axis `d`, and its index grows with that coordinate.
        """
        direction = np.asarray(self.direction)
        axes, signs = self.world_axes()
        first = np.where(signs < 0, np.take(self.shape, axes) - 1, 0)
        corner = np.zeros(self.rank)
        corner[axes] = first
        return Grid(
            tuple(np.take(self.shape, axes)),
            tuple(np.take(self.spacing, axes)),
            tuple(self.to_world(corner)),
            tuple(map(tuple, direction[:, axes] * signs)),
            self.plane,
        )

    def part(self, start: ArrayLike, shape: Sequence[int]) -> Grid:
        """The grid of `shape` voxels that begins at the index `start`, which may lie outside this grid."""
        return replace(self, shape=tuple(shape), origin=tuple(self.to_world(np.asarray(start))))

    def centred(self, centre: ArrayLike, shape: Sequence[int], spacing: Sequence[float]) -> Grid:
        """A grid with the same axes, of any shape and spacing, whose middle lies at the index `centre` of this grid."""
        direction = np.asarray(self.direction)
        middle = (np.asarray(shape) - 1) / 2 * np.asarray(spacing)
        origin = self.to_world(np.asarray(centre)) - direction @ middle
        return Grid(tuple(shape), tuple(spacing), tuple(origin), self.direction, self.plane)

    def slice(self) -> Grid:
        """The 2-D grid of a 3-D grid with one voxel along its first axis, with its plane.

        The world of the 2-D grid is the plane itself: its axes are the two world axes of the volume that are nearest to
        the plane, projected into it, and its origin is the point nearest to the origin of the volume's world. So slices
        of one plane share a world, however they are stored, and the world of an axial slice is (posterior, left).
        """
        direction = np.asarray(self.direction)
        normal = np.cross(direction[:, 1], direction[:, 2])
        normal /= np.linalg.norm(normal)
        first, second = np.delete(np.eye(3), np.argmax(np.abs(normal) * NEAREST), axis=0)
        second = second - (second @ normal) * normal
        second /= np.linalg.norm(second)
        first = first - (first @ normal) * normal
        first -= (first @ second) * second
        axes = np.stack([first / np.linalg.norm(first), second], axis=1)
        origin = np.asarray(self.origin) @ axes
        plane = np.column_stack([direction[:, 0] * self.spacing[0], axes, self.origin - axes @ origin])
        return Grid(self.shape[1:], self.spacing[1:], tuple(origin), axes.T @ direction[:, 1:], plane)  # type: ignore[arg-type]

    def volume(self) -> Grid:
        """The 3-D grid, one voxel thick, of a 2-D grid with a plane; a grid without a plane is returned as it is."""
        if not self.plane:
            return self
        plane = np.asarray(self.plane)
        step, axes = plane[:, 0], plane[:, 1:3]
        thickness = float(np.linalg.norm(step))
        return Grid(
            (1, *self.shape),
            (thickness, *self.spacing),
            tuple(axes @ self.origin + plane[:, 3]),
            np.column_stack([step / thickness, axes @ np.asarray(self.direction)]),  # type: ignore[arg-type]
        )

    def turned_from(self, other: Grid) -> float:
        """The largest angle in degrees between corresponding world axes of two slices; 0 if one has no plane."""
        if not (self.plane and other.plane):
            return 0.0
        cosines = np.sum(np.asarray(self.plane)[:, 1:3] * np.asarray(other.plane)[:, 1:3], axis=0)
        return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))

    def off_plane(self, other: Grid) -> float:
        """The largest distance, in slices, of this slice's corners from the other plane; 0 if one has no plane."""
        if not (self.plane and other.plane):
            return 0.0
        ends = [(0, y, x) for y in (0, self.shape[0] - 1) for x in (0, self.shape[1] - 1)]
        corners = self.volume().to_world(np.array(ends))
        plane = np.asarray(other.plane)
        normal = np.cross(plane[:, 1], plane[:, 2])
        return float(np.abs((corners - plane[:, 3]) @ normal).max() / abs(plane[:, 0] @ normal))

    @classmethod
    def from_itk(cls, image: sitk.Image) -> Grid:
        """The grid of a `SimpleITK.Image` with 2 or 3 axes."""
        rank = image.GetDimension()
        direction = np.reshape(image.GetDirection(), (rank, rank))[::-1, ::-1]
        return cls(image.GetSize()[::-1], image.GetSpacing()[::-1], image.GetOrigin()[::-1], direction)  # type: ignore[arg-type]

    def copy_to_itk(self, image: sitk.Image) -> None:
        """Set spacing, origin and direction of a `SimpleITK.Image` of this grid's size."""
        image.SetSpacing(self.spacing[::-1])
        image.SetOrigin(self.origin[::-1])
        image.SetDirection(np.asarray(self.direction)[::-1, ::-1].ravel().tolist())

    @classmethod
    def from_affine(cls, affine: np.ndarray, shape: Sequence[int]) -> Grid:
        """The grid of a NIfTI image: `affine` `(4, 4)` maps (x, y, z) indices to RAS mm; `shape` in array-axis order.

        An image with 2 axes is a slice of the patient, and keeps its plane.
        """
        lps = np.diag([-1.0, -1.0, 1.0]) @ np.asarray(affine, dtype=float)[:3]
        spacing = np.linalg.norm(lps[:, :3], axis=0)
        spacing[spacing == 0] = 1.0
        direction = lps[:, :3] / spacing
        if len(shape) == 2 and abs(np.linalg.det(direction)) < 1e-3:  # a slice may have no thickness: 1 mm
            normal = np.cross(direction[:, 0], direction[:, 1])
            direction[:, 2] = normal / (np.linalg.norm(normal) or 1.0)
            spacing[2] = 1.0
        whole = (1,) * (3 - len(shape)) + tuple(shape)
        grid = cls(whole, tuple(spacing[::-1]), tuple(lps[:, 3][::-1]), direction[::-1, ::-1])
        return grid if len(shape) == 3 else grid.slice()

    def affine(self) -> np.ndarray:
        """`(4, 4)` matrix from NIfTI's (x, y, z) indices to RAS mm; a slice without a plane is axial, at 0."""
        if self.plane:
            return self.volume().affine()
        lps = np.eye(4)
        lps[: self.rank, : self.rank] = (np.asarray(self.direction) * self.spacing)[::-1, ::-1]
        lps[: self.rank, 3] = self.origin[::-1]
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _is_plane(plane: np.ndarray) -> bool:
    if plane.shape != (3, 4) or not np.isfinite(plane).all():
        return False
    axes, step = plane[:, 1:3], plane[:, 0] / (np.linalg.norm(plane[:, 0]) or 1.0)
    return np.allclose(axes.T @ axes, np.eye(2), atol=1e-3) and abs(np.cross(*axes.T) @ step) > 1e-3


def _numbers(name: str, values: Sequence[float], rank: int, default: float) -> tuple[float, ...]:
    if np.size(values) == 0:
        return (default,) * rank
    numbers = tuple(float(x) for x in np.ravel(values))
    if len(numbers) != rank or not np.isfinite(numbers).all():
        raise AcregError(
            f"The {name} of a grid with {rank} axes is {rank} finite numbers. Received: {name}={tuple(values)}."
        )
    return numbers
