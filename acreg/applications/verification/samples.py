"""Grids, fields, images and transforms for the checks, the same in each run, and their counterparts in SimpleITK.

SimpleITK's objects are constructed here by ITK's own rules and not by `acreg.io.transforms.itk`, which is itself
checked.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.geometry import Affine, Displacement, Grid, Image, Transform, Velocity
from acreg.geometry.displacement import voxel_indices

BORDER = 0.01
"""Voxels from the border of an image's extent. So near to it one program may look inside of the image and the other
outside, by rounding alone: such voxels are not compared."""


def grids(rank: int) -> tuple[Grid, Grid]:
    """A fixed and a moving grid: rotated, anisotropic, away from the origin, of different axes."""
    if rank == 2:
        turn: Any = np.array([[0.8, 0.6], [0.6, -0.8]])  # rotated and mirrored
        small = Rotation.from_euler("z", 0.2).as_matrix()[:2, :2]
        return Grid((60, 52), (0.9, 0.5), (30.0, -4.0), turn), Grid((48, 66), (0.7, 1.1), (-3.0, 12.0), small)
    turn = Rotation.from_euler("xyz", (0.3, -0.5, 0.2)).as_matrix()
    permuted = Rotation.from_euler("xyz", (0.1, 0.1, -0.2)).as_matrix()[:, [2, 0, 1]] * [1, -1, 1]
    fixed = Grid((18, 40, 44), (2.5, 1.2, 0.8), (-120.0, 30.0, 4.5), turn)
    return fixed, Grid((36, 34, 30), (1.0, 1.5, 1.2), (-90.0, 18.0, 60.0), permuted)


def smooth(rng: np.random.Generator, shape: tuple[int, ...], waves: float = 3.0) -> np.ndarray:
    """Noise in [-1, 1], smoothed by a Gaussian of `waves` voxels."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), waves)
    return noise / np.abs(noise).max()


def field(rng: np.random.Generator, shape: tuple[int, ...], largest: float = 1.5) -> np.ndarray:
    """A smooth field `(*shape, rank)` in voxels that does not fold, no component above `largest`."""
    return largest * np.stack([smooth(rng, shape, 4.0) for _ in shape], axis=-1)


def affine(rng: np.random.Generator, fixed: Grid, moving: Grid) -> Affine:
    """A map between the extents of two grids, with a little shear and shift."""
    rank, middle = fixed.rank, (np.array(fixed.shape) - 1) / 2
    shear = np.eye(rank + 1)
    shear[:-1, :-1] += rng.uniform(-0.08, 0.08, (rank, rank))
    shear[:-1, -1] = (np.eye(rank) - shear[:-1, :-1]) @ middle + rng.uniform(-1, 1, rank)
    inside = fixed.matrix @ shear @ np.linalg.inv(fixed.matrix)
    return Affine(Affine.between_extents(fixed, moving).matrix @ inside)


def transform(rank: int, kind: Literal["displacement", "velocity", "affine"]) -> Transform:
    """A transform between the two grids of `grids`.

    "displacement" is a displacement on the fixed grid, then an affine map; "velocity" an affine map, then the flow of
    a velocity on the moving grid; "affine" an affine map alone.
    """
    rng = np.random.default_rng([rank, len(kind)])
    fixed, moving = grids(rank)
    onto = affine(rng, fixed, moving)
    if kind == "displacement":
        return Transform(fixed, moving, (Displacement(field(rng, fixed.shape), fixed), onto))
    if kind == "velocity":
        return Transform(fixed, moving, (onto, Velocity(field(rng, moving.shape), moving)))
    return Transform(fixed, moving, (onto,))


def moving_image(grid: Grid) -> Image:
    """A smooth image with values in [-1, 1]."""
    return Image(smooth(np.random.default_rng(7), grid.shape), grid)


def labels_on(grid: Grid, highest: int = 5) -> Image:
    """A label map with regions of the labels 1, 2 and `highest` in a background."""
    values = np.array([0, 1, 2, highest])
    return Image(values[np.digitize(moving_image(grid).array, (-0.3, 0.1, 0.4))], grid, "labels")


def voxels(grid: Grid) -> np.ndarray:
    """The indices of all voxels, `(n, rank)`."""
    return voxel_indices(grid.shape).reshape(-1, grid.rank)


def looked_up(transform: Transform) -> np.ndarray:
    """The position that each fixed voxel is mapped to, in indices of the moving grid, `(n, rank)`."""
    fixed, moving = transform.fixed, transform.moving
    return moving.to_index(transform.warp_points(fixed.to_world(voxels(fixed)), to="moving"))


def away_from_border(transform: Transform) -> np.ndarray:
    """Which fixed voxels are mapped farther than `BORDER` from the border of the moving extent, `(*fixed.shape)`."""
    places = looked_up(transform)
    apart = np.minimum(np.abs(places + 0.5), np.abs(np.array(transform.moving.shape) - 0.5 - places)).min(axis=1)
    return (apart > BORDER).reshape(transform.fixed.shape)


def itk_image(array: np.ndarray, grid: Grid, vectors: bool = False) -> sitk.Image:
    """A `SimpleITK.Image` of an array in array-axis order: ITK's lists are acreg's in reverse order."""
    made = sitk.GetImageFromArray(array, isVector=vectors)
    made.SetSpacing(grid.spacing[::-1])
    made.SetOrigin(grid.origin[::-1])
    made.SetDirection(np.asarray(grid.direction)[::-1, ::-1].ravel().tolist())
    return made


def itk_transform(transform: Transform) -> sitk.Transform:
    """The same maps in SimpleITK, whose fields are in mm along the world's axes; a velocity as its displacement."""
    composite = sitk.CompositeTransform(transform.fixed.rank)
    for part in reversed(transform.maps):  # ITK applies first what was added last
        if isinstance(part, Affine):
            matrix = part.matrix[:-1, :-1][::-1, ::-1]
            composite.AddTransform(sitk.AffineTransform(matrix.ravel().tolist(), part.matrix[:-1, -1][::-1].tolist()))
            continue
        found = part.displacement if isinstance(part, Velocity) else part
        mm = (found.vectors.astype(float) * found.grid.spacing) @ np.asarray(found.grid.direction).T
        vectors = itk_image(np.ascontiguousarray(mm[..., ::-1]), found.grid, vectors=True)
        composite.AddTransform(sitk.DisplacementFieldTransform(vectors))
    return composite


def itk_resampled(found: sitk.Transform, fixed: Grid, image: Image, nearest: bool = False) -> np.ndarray:
    """An image on the fixed grid as SimpleITK resamples it through one of its transforms, 0 outside."""
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    reference = itk_image(np.zeros(fixed.shape, np.float32), fixed)
    return sitk.GetArrayFromImage(
        sitk.Resample(itk_image(image.array, image.grid), reference, found, interpolator, 0.0)
    )


def itk_points(found: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """World points `(n, rank)`, in acreg's order of axes, mapped by SimpleITK."""
    return np.array([found.TransformPoint(point[::-1].tolist())[::-1] for point in points])


def some_points(grid: Grid, count: int = 500) -> np.ndarray:
    """World positions inside a grid, at least 4 voxels from its border (2 along axes with fewer than 20 voxels)."""
    last = np.array(grid.shape) - 1
    margin = np.where(last < 19, 2, 4)
    return grid.to_world(np.random.default_rng(11).uniform(margin, last - margin, (count, grid.rank)))
