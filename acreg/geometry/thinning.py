"""Large images and transforms at some of their voxels, so that a display takes little time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from acreg.geometry.displacement import check_length, determinant
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Map, Velocity

if TYPE_CHECKING:
    from acreg.geometry.image import Image
    from acreg.geometry.transform import Transform


def thinned(image: Image, voxels: int) -> Image:
    """Every k-th voxel of an image along each axis, about `voxels` in all; the image itself if it has no more."""
    grid, steps = thinned_grid(image.grid, voxels)
    if max(steps) == 1:
        return image
    return dataclasses.replace(image, array=image.array[every(steps)], grid=grid)


def thinned_grid(grid: Grid, voxels: int) -> tuple[Grid, tuple[int, ...]]:
    """The grid of every k-th voxel, with about `voxels` in all; and k of each axis.

    k is the same for all axes, unless an axis is so short that fewer than two voxels of it would be left.
    """
    short: set[int] = set()
    while True:
        free = [axis for axis in range(grid.rank) if axis not in short]
        number = np.prod([n if axis in free else min(n, 2) for axis, n in enumerate(grid.shape)])
        wanted = max(1, int(np.ceil((number / voxels) ** (1 / max(1, len(free))))))
        found = {axis for axis in free if grid.shape[axis] - 1 < wanted}
        if not found:
            break
        short |= found
    steps = [wanted if axis in free else max(1, n - 1) for axis, n in enumerate(grid.shape)]
    shape = tuple(-(-n // step) for n, step in zip(grid.shape, steps))
    spacing = tuple(s * step for s, step in zip(grid.spacing, steps))
    return dataclasses.replace(grid, shape=shape, spacing=spacing), tuple(steps)


def with_short_flows(transform: Transform, voxels: int) -> Transform:
    """The transform with each velocity thinned to about `voxels` unless its flow is known: integration takes long."""

    def short(part: Map) -> Map:
        if not isinstance(part, Velocity) or "displacement" in vars(part):
            return part
        grid, steps = thinned_grid(part.grid, voxels)
        return Velocity(part.vectors[every(steps)] / np.array(steps, np.float32), grid, part.steps)

    return dataclasses.replace(transform, maps=tuple(short(part) for part in transform.maps))


def shifts_at(transform: Transform, indices: np.ndarray) -> np.ndarray:
    """The displacement in mm, along the world axes, of voxels `(n, rank)` of the fixed grid: `(n, rank)`."""
    points = transform.fixed.to_world(indices)
    return transform.warp_points(points, to="moving") - points


def determinants_at(transform: Transform, indices: np.ndarray) -> np.ndarray:
    """What `Transform.jacobian_determinant` has at voxels `(n, rank)` of the fixed grid, computed there alone: `(n,)`.

    Raises:
        AcregError: an axis has a single voxel.
    """
    grid = transform.fixed
    check_length(grid.shape)
    columns = []
    for axis in range(grid.rank):
        ahead, behind = indices.astype(float), indices.astype(float)
        ahead[:, axis] = np.minimum(ahead[:, axis] + 1, grid.shape[axis] - 1)
        behind[:, axis] = np.maximum(behind[:, axis] - 1, 0)
        there = [grid.to_index(transform.warp_points(grid.to_world(each), to="moving")) for each in (ahead, behind)]
        columns.append((there[0] - there[1]) / (ahead[:, axis] - behind[:, axis])[:, None])
    return determinant([[column[:, row] for column in columns] for row in range(grid.rank)])


def some_voxels(grid: Grid, voxels: int) -> np.ndarray:
    """The indices `(n, rank)` of all voxels of a grid or, if there are more, of `voxels` that are drawn at random.

    Voxels at regular distances would miss what lies in a thin layer along an axis.
    """
    number = int(np.prod(grid.shape))
    flat = np.arange(number) if number <= voxels else np.sort(np.random.default_rng(0).integers(number, size=voxels))
    return np.stack(np.unravel_index(flat, grid.shape), axis=1)


def every(steps: tuple[int, ...]) -> tuple[slice, ...]:
    """The index of every k-th voxel along each axis."""
    return tuple(slice(None, None, step) for step in steps)
