"""Surfaces of labelled regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage, spatial
from skimage import measure

from acreg.errors import AcregError
from acreg.io import Image

LARGEST_SHARE = 0.9
"""Share of a region's voxels that the largest piece must have, so that the other pieces are dropped."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface of triangles; in 2-D, a closed line of segments.

    Args:
        points: `(n, rank)` in mm, in the world of the image (array-axis order).
        cells: `(m, rank)`, the points of each triangle or segment, all with the same orientation.
    """

    points: np.ndarray
    cells: np.ndarray

    @property
    def rank(self) -> int:
        """2 or 3."""
        return self.points.shape[1]

    @cached_property
    def centres(self) -> np.ndarray:
        """The middle of each cell, `(m, rank)`."""
        return self.points[self.cells].mean(axis=1)

    @cached_property
    def normals(self) -> np.ndarray:
        """The normal of each cell, `(m, rank)`, whose length is the size of the cell."""
        corners = self.points[self.cells]
        if self.rank == 2:
            along = corners[:, 1] - corners[:, 0]
            return np.stack([along[:, 1], -along[:, 0]], axis=1)
        return 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    def moved(self, points: np.ndarray) -> Surface:
        """The same cells with other points `(n, rank)`."""
        return Surface(np.asarray(points, float), self.cells)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """The approximate distance in mm of `points` `(k, rank)` from the surface: from its corners and centres."""
        return spatial.KDTree(np.concatenate([self.points, self.centres])).query(points)[0]


def region_surface(labels: Image, values: Sequence[int], edge: float) -> Surface:
    """The surface around all voxels with the given labels.

    The signed distance from the border of the region is sampled with equal spacing by linear interpolation (between
    thick slices, this is the method of Raya and Udupa), and marching cubes (in 2-D, marching squares) finds its zero
    level. A region that reaches the border of the image is closed there. Small pieces other than the largest are
    dropped.

    Args:
        labels: integers.
        values: the labels of the region.
        edge: approximate length of the surface's edges in mm; the surface has no finer detail.

    Raises:
        AcregError: no voxel has one of the labels, the region has several large pieces, or is too thin for `edge`.
    """
    named, name = f"label {'+'.join(map(str, values))}", labels.name or "a label map"
    if not edge > 0:
        raise AcregError(f"The length of a surface's edges is positive, in mm. Received: edge={edge}.")
    rank, spacing = labels.grid.rank, np.array(labels.grid.spacing)
    mask = np.isin(labels.array, values)
    if not mask.any():
        raise AcregError(
            f"A surface is that of a region with voxels. Received: no voxel of {named} in {name}. Leave out "
            "the subject, or the label."
        )
    mask = _largest_piece(mask, f"{named} in {name}")
    # two voxels of margin: the surface is then closed where the region reaches the image's border
    where = ndimage.find_objects(mask.astype(np.uint8))[0]
    start = np.array([part.start for part in where])
    margin = 2 + np.ceil(edge / spacing).astype(int)
    mask = np.pad(mask[where], [(m, m) for m in margin])
    depth = ndimage.distance_transform_edt(mask, spacing) - ndimage.distance_transform_edt(~mask, spacing)
    steps = edge / spacing
    sizes = [int(np.floor((n - 1) / step)) + 1 for n, step in zip(mask.shape, steps, strict=True)]
    at = np.meshgrid(*(np.arange(n) * step for n, step in zip(sizes, steps, strict=True)), indexing="ij")
    even = ndimage.map_coordinates(depth, np.stack(at), order=1)
    if even.max() <= 0:
        raise AcregError(
            f"A region is thicker than the edges of its surface. Received: {named} in {name}, at edge={edge:g} "
            "mm. Lower the edge, or join the region with one that it encloses."
        )
    points, cells = _level_surface(even)
    if len(cells) < rank + 1:
        raise AcregError(
            f"A closed surface has at least {rank + 1} cells. Received: {len(cells)} for {named} in {name}, at "
            f"edge={edge:g} mm. Lower the edge."
        )
    if np.linalg.det(labels.grid.matrix[:-1, :-1]) < 0:  # in a mirrored world the cells have the opposite orientation
        cells = cells[:, ::-1]
    return Surface(labels.grid.to_world(points * steps + start - margin), cells)


def thinned(points: np.ndarray, distance: float) -> np.ndarray:
    """The positions of points that are at least a distance apart, chosen in order.

    Args:
        points: `(n, rank)`.
        distance: in the unit of the points.

    Returns:
        Increasing integers.
    """
    free = np.ones(len(points), bool)
    near = spatial.KDTree(points).query_ball_point(points, distance)
    kept = []
    for position, others in enumerate(near):
        if free[position]:
            kept.append(position)
            free[others] = False
    return np.array(kept)


def _level_surface(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The zero level of `depth`: points in voxels, and cells with normals that point away from the positive side."""
    if depth.ndim == 3:
        points, cells, _, _ = measure.marching_cubes(depth, 0.0, gradient_direction="ascent")
        return points.astype(float), cells.astype(int)
    points_of, cells_of, count = [], [], 0
    for line in measure.find_contours(depth, 0.0):
        n = len(line) - 1  # the last point repeats the first
        points_of.append(line[:-1])
        cells_of.append(count + np.stack([(np.arange(n) + 1) % n, np.arange(n)], axis=1))
        count += n
    return np.concatenate(points_of), np.concatenate(cells_of)


def _largest_piece(mask: np.ndarray, named: str) -> np.ndarray:
    pieces, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    if count == 1:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max() < LARGEST_SHARE * sizes.sum():
        raise AcregError(
            f"A region is one piece, but for {100 * (1 - LARGEST_SHARE):.0f} % of its voxels at most. Received: "
            f"{named} in {count} pieces, of {', '.join(map(str, sorted(sizes, reverse=True)[:5]))} "
            "voxels. Give the pieces labels of their own."
        )
    return pieces == 1 + sizes.argmax()
