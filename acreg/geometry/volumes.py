"""2-D images and transforms as volumes of one slice, for programs that show images in 3-D."""

from __future__ import annotations

import dataclasses

import numpy as np

from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.geometry.maps import Affine, Displacement, Map, Velocity
from acreg.geometry.transform import Transform

AXIAL = tuple(map(tuple, np.eye(3, 4).tolist()))
"""The plane (see `Grid`) of an image without one: axial, at height 0, 1 mm thick."""


def grid_volume(grid: Grid) -> Grid:
    """The 3-D grid of a 2-D grid, one voxel thick and in its plane (`AXIAL` if it has none); a 3-D grid as it is."""
    return dataclasses.replace(grid, plane=grid.plane or AXIAL).volume() if grid.rank == 2 else grid


def image_volume(image: Image) -> Image:
    """The image on `grid_volume` of its grid."""
    grid = grid_volume(image.grid)
    return dataclasses.replace(image, array=image.array.reshape(grid.shape), grid=grid)


def transform_volume(transform: Transform) -> Transform:
    """The 3-D transform of a 2-D one, from the plane of the fixed image to that of the moving image.

    It takes a point of the fixed plane to the same point as the 2-D transform. A displacement holds half a slice to
    either side of the plane. A 3-D transform is returned as it is.
    """
    if transform.fixed.rank == 3:
        return transform
    maps: list[Map] = [_in_space(part) for part in transform.maps]
    if transform.fixed.plane:
        maps.insert(0, Affine(_homogeneous(transform.fixed.plane)).inverse())
    if transform.moving.plane:
        maps.append(Affine(_homogeneous(transform.moving.plane)))
    return Transform(grid_volume(transform.fixed), grid_volume(transform.moving), tuple(maps), transform.residual)


def _in_space(part: Map) -> Affine | Displacement:
    """The same map of the plane `AXIAL`; it leaves the height of a point as it is."""
    if isinstance(part, Affine):
        matrix = np.eye(4)
        matrix[1:, 1:] = part.matrix
        return Affine(matrix)
    field = part.displacement if isinstance(part, Velocity) else part
    vectors = np.zeros((1, *field.grid.shape, 3), np.float32)
    vectors[0, ..., 1:] = field.vectors
    return Displacement(vectors, grid_volume(dataclasses.replace(field.grid, plane=())))


def _homogeneous(plane: tuple[tuple[float, ...], ...]) -> np.ndarray:
    return np.vstack([plane, (0.0, 0.0, 0.0, 1.0)])
