"""The result of a registration."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError, UsageError
from acreg.geometry.displacement import jacobian_determinant, slabs, voxel_indices
from acreg.geometry.display import describe_transform, png_or_none, safely, transform_html
from acreg.geometry.figures import transform_figure, transform_png
from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.geometry.label_grid import place_labels
from acreg.geometry.label_sampling import LargestLabel, NearestLabel
from acreg.geometry.maps import Affine, Displacement, Map, Velocity
from acreg.geometry.regularity import folding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Border = Literal["constant", "edge"]
"""The values outside an image: one constant, or its edge values."""
SAME_VIEW = 45.0
"""Largest angle in degrees between the axes of two slices in the patient."""


def check_border(border: str, fill: float) -> None:
    """Raise `UsageError` for a word that `Border` does not have, or a fill that is not a finite float32."""
    if border not in get_args(Border):
        raise UsageError(f"The border of an image is 'constant' or 'edge'. Received: border={border!r}.")
    if not abs(fill) <= np.finfo(np.float32).max:
        raise UsageError(f"What lies outside of an image is a finite number. Received: fill={fill}.")


@dataclass(frozen=True, eq=False)
class Transform:
    """Warps a moving image onto a fixed grid: `warped(x) = moving(T(x))`, with `x` and `T(x)` in physical space.

    Args:
        fixed: the grid of the results.
        moving: the grid of the moving image that was registered. Other images are placed by their own grids.
        maps: the maps whose composition is T; the first is applied to the fixed point first. No maps mean the identity.
        residual: the largest error in voxels of a map in `maps` that is an approximate inverse; see `inverse`.

    Raises:
        AcregError: the grids and maps differ in rank, or the grids are slices of different planes.
    """

    fixed: Grid
    moving: Grid
    maps: tuple[Map, ...] = ()
    residual: float = 0.0

    def __post_init__(self) -> None:
        ranks = {self.fixed.rank, self.moving.rank, *(part.rank for part in self.maps)}
        if len(ranks) > 1:
            raise AcregError(
                "A transform's grids and maps have one number of axes. Received: "
                f"fixed {self.fixed.shape}, moving {self.moving.shape}, maps of rank {[m.rank for m in self.maps]}."
            )
        turned = self.fixed.turned_from(self.moving)
        if turned > SAME_VIEW:
            raise AcregError(
                "Two slices that are registered show the patient in about one plane. Received: a fixed and a moving "
                f"slice whose axes point {turned:.0f} degrees apart by their headers. Give slices of one plane, or "
                "correct the header that is wrong; pictures (PNG) have no place and are taken as they are."
            )

    def __repr__(self) -> str:
        return describe_transform(self)

    def _repr_html_(self) -> str:
        """Display in a notebook: the figure of `plot`, grids, maps, displacement and folding."""
        return safely(lambda: transform_html(self))

    def _repr_png_(self) -> bytes | None:
        """The figure alone."""
        return png_or_none(lambda: transform_png(self))

    @classmethod
    def between_extents(cls, fixed: Grid, moving: Grid, displacement: np.ndarray | None = None) -> Transform:
        """The transform of a displacement `(*fixed.shape, rank)` in voxels of `fixed`, between aligned extents.

        This is the result of a network whose inputs were resized as a whole: along an axis with `Nf` fixed and `Nm`
        moving voxels, the moving index is `(p + u(p) + 0.5) * Nm / Nf - 0.5`, regardless of the positions of the
        images.
        """
        maps: tuple[Map, ...] = () if displacement is None else (Displacement(displacement, fixed),)
        return cls(fixed, moving, (*maps, Affine.between_extents(fixed, moving)))

    def plot(self, image: Image | None = None) -> Figure:
        """A Matplotlib figure of the deformed grid and the Jacobian determinant; of a volume, in three planes.

        The planes go through the middle of the fixed grid and are shown as in radiology, with the patient's left on the
        right. The lines are a regular grid of the fixed image, mapped to the moving image; affine maps are left out
        unless there are no others. The determinant is white at 1, blue below, red above, and magenta where the
        transform folds. `figure.savefig("grid.png")` writes it.

        Args:
            image: an image of the fixed space, such as the fixed or the warped image, which is shown behind the grid.

        Raises:
            AcregError: the image has another number of axes, or the fixed grid has one voxel along an axis.
        """
        return transform_figure(self, image)

    def warp_image(self, image: Image, border: Border = "constant", fill: float = 0.0) -> Image:
        """Resample an image of the moving space on the fixed grid, once and with linear interpolation.

        Args:
            image: intensities.
            border: the values outside the extent of the image (see `Grid.contains`): with "constant" (default) the
                value `fill`, as in ITK, ANTs and 3D Slicer; with "edge" the nearest edge value.
            fill: 0, or the value of air in the image, such as -1000 for CT. It is not used with "edge".

        Raises:
            AcregError: the image has another number of axes.
            UsageError: `border` is neither of these, or `fill` is not finite.
        """
        self._check(image)
        check_border(border, fill)
        warped = np.empty(self.fixed.shape, np.float32)
        for part in slabs(self.fixed.shape):
            points = self._positions(part, image.grid)
            found = ndimage.map_coordinates(image.array, points, order=1, mode="nearest")
            if border == "constant":
                found[~image.grid.contains(np.moveaxis(points, 0, -1))] = fill
            warped[part] = found
        return dataclasses.replace(image, array=warped, grid=self.fixed)

    def warp_labels(self, image: Image, interpolation: Literal["linear", "nearest"] = "linear") -> Image:
        """Resample labels of the moving image on the fixed grid; outside the labels, the result is background (0).

        Args:
            image: labels, which their own header places on the moving grid. Labels that sample the same region
                differently are resampled from their own grid (see `acreg.geometry.labels_on`).
            interpolation: "linear" (default) warps the mask of each label linearly and takes the label with the largest
                value, the lower label in a tie; "nearest" takes the label of the nearest voxel.

        Raises:
            AcregError: the image does not contain labels, or the labels cannot be placed on the moving grid.
            UsageError: `interpolation` is neither of these.
        """
        if interpolation not in ("linear", "nearest"):
            raise UsageError(f"Labels are warped 'linear' or 'nearest'. Received: interpolation={interpolation!r}.")
        image = place_labels(image, self.moving)
        sample = LargestLabel(image.array) if interpolation == "linear" else NearestLabel(image.array)
        warped = np.empty(self.fixed.shape, image.array.dtype)
        for part in slabs(self.fixed.shape):
            points = self._positions(part, image.grid)
            found = sample(points.reshape(self.fixed.rank, -1)).reshape(points.shape[1:])
            warped[part] = np.where(image.grid.contains(np.moveaxis(points, 0, -1)), found, 0)
        return dataclasses.replace(image, array=warped, grid=self.fixed)

    def warp_points(self, points: np.ndarray, to: Literal["moving", "fixed"]) -> np.ndarray:
        """Map points from one image to the other.

        Args:
            points: `(n, rank)`, world coordinates in mm, array-axis order (see `Grid`).
            to: "moving": the points are of the fixed image, and T is applied. "fixed": the points are of the moving
                image and are mapped to where the warped image shows them: T is inverted at each point, by iteration if
                a map is a displacement.

        Raises:
            AcregError: the shape differs, or T cannot be inverted at some of the points, because it folds there.
            UsageError: `to` is neither of these.
        """
        points = np.asarray(points, dtype=float)
        if points.ndim != 2 or points.shape[1] != self.fixed.rank:
            raise AcregError(f"Points are (n, {self.fixed.rank}). Received: shape {points.shape}.")
        if to == "moving":
            return self._map(points)
        if to != "fixed":
            raise UsageError(f"Points go to 'moving' or to 'fixed'. Received: to={to!r}.")
        for part in reversed(self.maps):
            points = part.invert_points(points)
        return points

    def inverse(self) -> Transform:
        """The transform that warps fixed images onto the moving grid.

        Affine maps are inverted exactly, displacements by iteration (`residual` of the result gives the error, see
        `Displacement.inverse`), and velocities by the flow backward in time. Both flows are sampled, so their
        composition differs from the identity by a few hundredths of a voxel on average, and by a few tenths where a
        field is rough; `residual` does not include this.
        """
        residual = 0.0
        maps: list[Map] = []
        for part in reversed(self.maps):
            if isinstance(part, Displacement):
                inverse, left = part.inverse()
                residual = max(residual, left)
                maps.append(inverse)
            else:
                maps.append(part.inverse())
        return Transform(self.moving, self.fixed, tuple(maps), residual)

    def sampled_inverse(self) -> Transform:
        """The inverse, sampled at the voxels of the moving grid: a displacement there, then the inverse affine part.

        It warps fixed images onto the moving grid more accurately than `inverse`, whose maps are interpolated on the
        grids of this transform's maps. It also works outside these grids: fields are extended by their edge values.
        Where this transform folds, one of several points is taken. Outside the moving grid, only the affine part is
        inverted. `residual` is the largest error, in voxels of a map, over the moving voxels that map into the fixed
        image.
        """
        affine = self.affine_part
        if all(isinstance(part, Affine) for part in self.maps):
            return Transform(self.moving, self.fixed, (affine.inverse(),))
        vectors = np.empty((*self.moving.shape, self.moving.rank), np.float32)
        residual = 0.0
        for part in slabs(self.moving.shape):
            voxels = voxel_indices(self.moving.shape, part)
            points = self.moving.to_world(voxels.reshape(-1, self.moving.rank))
            largest = np.zeros(len(points))
            for each in reversed(self.maps):
                if isinstance(each, Affine):
                    points = each.invert_points(points)
                else:
                    field = each.displacement if isinstance(each, Velocity) else each
                    points, error = field.continued_inverse(points)
                    np.maximum(largest, error, out=largest)
            seen = self.fixed.contains(self.fixed.to_index(points))
            residual = max(residual, float(largest[seen].max(initial=0.0)))
            vectors[part] = self.moving.to_index(affine(points)).reshape(voxels.shape) - voxels
        return Transform(self.moving, self.fixed, (Displacement(vectors, self.moving), affine.inverse()), residual)

    def compose(self, then: Transform) -> Transform:
        """This transform followed by `then`: points go from this fixed image via this moving image to that of `then`.

        So an image in the moving space of `then` is warped onto this fixed grid with a single resampling.
        """
        return Transform(self.fixed, then.moving, self.maps + then.maps, max(self.residual, then.residual))

    def resample_to(self, grid: Grid) -> Transform:
        """The same transform with another fixed grid, on which results are sampled."""
        return dataclasses.replace(self, fixed=grid)

    def sampled(self) -> Transform:
        """The transform as a single map that is sampled at the voxels of the fixed grid, so that repeated use is cheap.

        A transform with only affine maps is returned as it is: affine maps are cheap and valid everywhere.
        """
        if all(isinstance(part, Affine) for part in self.maps):
            return self
        return dataclasses.replace(self, maps=(Displacement(self.displacement, self.fixed),))

    @property
    def affine_part(self) -> Affine:
        """The composition of the affine maps alone."""
        matrix = np.eye(self.fixed.rank + 1)
        for part in self.maps:
            matrix = part.matrix @ matrix if isinstance(part, Affine) else matrix
        return Affine(matrix)

    @property
    def displacement(self) -> np.ndarray:
        """All maps as one displacement, float32 `(*fixed.shape, rank)`: `x + u(x) = T(x)`, voxels of the fixed grid."""
        result = np.empty((*self.fixed.shape, self.fixed.rank), np.float32)
        for part in slabs(self.fixed.shape):
            points = self._positions(part, self.fixed)
            result[part] = np.moveaxis(points, 0, -1) - voxel_indices(self.fixed.shape, part)
        return result

    def jacobian_determinant(self) -> np.ndarray:
        """Local change of volume `(*fixed.shape)`, by finite differences: see `acreg.geometry.jacobian_determinant`."""
        return jacobian_determinant(self.displacement)

    def folding(self) -> dict[str, float]:
        """Folding and smoothness of T on the fixed grid: see `acreg.geometry.folding`."""
        return folding(self.displacement)

    def inside(self, grid: Grid) -> np.ndarray:
        """Which voxels of the fixed grid map inside the extent of another grid, `(*fixed.shape)`, bool."""
        result = np.empty(self.fixed.shape, bool)
        for part in slabs(self.fixed.shape):
            result[part] = grid.contains(np.moveaxis(self._positions(part, grid), 0, -1))
        return result

    def _map(self, points: np.ndarray) -> np.ndarray:
        for part in self.maps:
            points = part(points)
        return points

    def _positions(self, part: slice, grid: Grid) -> np.ndarray:
        """Where the voxels of the rows `part` of the fixed grid map: indices `(rank, *spatial of part)` of `grid`."""
        indices = voxel_indices(self.fixed.shape, part)
        maps = self.maps
        if maps and isinstance(maps[0], Displacement) and maps[0].grid == self.fixed:
            indices = indices + maps[0].vectors[part]  # at voxel centres nothing needs to be interpolated
            maps = maps[1:]
        # Affine maps are multiplied into one matrix, so that neighbours on one grid differ only by rounding.
        matrix = self.fixed.matrix
        points = indices.reshape(-1, self.fixed.rank)
        for part_map in maps:
            if isinstance(part_map, Affine):
                matrix = part_map.matrix @ matrix
            else:
                points, matrix = part_map(_apply(matrix, points)), np.eye(self.fixed.rank + 1)
        points = _apply(np.linalg.solve(grid.matrix, matrix), points)
        return np.moveaxis(points.reshape(indices.shape), -1, 0)

    def _check(self, image: Image) -> None:
        if image.grid.rank != self.fixed.rank:
            raise AcregError(
                f"The image to be warped has the transform's number of axes. Received: {image.name or 'image'} of "
                f"shape {image.grid.shape}, fixed grid {self.fixed.shape}."
            )
        if image.grid.shape != self.moving.shape and np.array_equal(image.grid.matrix, self.moving.matrix):
            raise AcregError(
                "The image to be warped lies on the moving grid, or says itself where it lies. Received: "
                f"{image.name or 'image'} of shape {image.grid.shape} with the spacing, origin and direction of the "
                f"moving grid {self.moving.shape}. Give the moving image, or labels drawn on it."
            )


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A homogeneous matrix on points `(n, rank)`."""
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]
