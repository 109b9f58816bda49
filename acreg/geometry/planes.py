"""Slices of an image as radiologists look at them: which axes they have, and which side of the patient is where.

The patient's left is on the right, anterior is at the top of axial slices and on the left of sagittal ones, and
superior is at the top of the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from acreg.geometry.grid import NEAREST, Grid

SIDES = (("I", "S"), ("A", "P"), ("R", "L"))
"""The ends of the world axes (z, y, x): inferior and superior, anterior and posterior, right and left."""
CONVENTION = "radiological: the patient's left is on the right"


@dataclass(frozen=True)
class Plane:
    """How slices of an `upright` array are shown.

    Attributes:
        name: "axial", "coronal" or "sagittal"; "" for a 2-D image whose position in the patient is unknown.
        axes: the axes of the upright array along the rows and the columns.
        upward: whether the rows are shown from the bottom to the top.
        sides: the side of the patient at the top, bottom, left and right, such as "A", or "" if it is unknown.
    """

    name: str
    axes: tuple[int, int]
    upward: bool = False
    sides: tuple[str, str, str, str] = ("", "", "", "")

    def cut(self, array: np.ndarray, at: tuple[int, ...]) -> np.ndarray:
        """The slice `(rows, columns)` through the voxel `at` of an upright array, its first row at the top."""
        index = tuple(slice(None) if d in self.axes else at[d] for d in range(len(at)))
        return array[index][::-1] if self.upward else array[index]


VOLUME = (
    Plane("axial", (1, 2), False, (*SIDES[1], *SIDES[2])),
    Plane("coronal", (0, 2), True, (*SIDES[0][::-1], *SIDES[2])),
    Plane("sagittal", (0, 1), True, (*SIDES[0][::-1], *SIDES[1])),
)
"""The planes of a volume; their axes are also those of the world."""


def planes(grid: Grid) -> list[Plane]:
    """The planes in which an image is shown: three of a volume, fewer if an axis has one voxel, one of a 2-D image."""
    world = _world(grid)
    if not world:
        return [Plane("", (0, 1))]
    if grid.rank == 2:
        return [replace(plane, axes=(0, 1)) for plane in VOLUME if plane.axes == world]
    shape = upright_grid(grid).shape
    return [plane for plane in VOLUME if min(shape[d] for d in plane.axes) > 1] or [VOLUME[0]]


def upright(array: np.ndarray, grid: Grid) -> np.ndarray:
    """A view of an array `(*grid.shape)` along the axes of `upright_grid(grid)`."""
    if not _world(grid):
        return array
    axes, signs = grid.world_axes()
    return array.transpose(axes)[tuple(slice(None, None, sign) for sign in signs.tolist())]


def upright_grid(grid: Grid) -> Grid:
    """`grid.reoriented()`; a 2-D grid whose position in the patient is unknown, as it is."""
    return grid.reoriented() if _world(grid) else grid


def towards(grid: Grid) -> str:
    """The sides of the patient to which the axes (x, y, z) of a file point, as in nibabel: "LPS"; "" if unknown."""
    world = _world(grid)
    axes, signs = grid.world_axes()
    letters = {axis: SIDES[place][sign > 0] for axis, sign, place in zip(axes.tolist(), signs.tolist(), world)}
    return "".join(letters[axis] for axis in sorted(letters, reverse=True))


def _world(grid: Grid) -> tuple[int, ...]:
    """The world axes of a volume (0 superior, 1 posterior, 2 left) to which the world axes of a grid correspond."""
    if grid.rank == 3:
        return (0, 1, 2)
    if not grid.plane:
        return ()
    normal = np.cross(*np.asarray(grid.plane)[:, 1:3].T)
    return tuple(np.delete((0, 1, 2), np.argmax(np.abs(normal) * NEAREST)).tolist())
