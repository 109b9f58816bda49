"""Conversion of the maps of a transform to SimpleITK objects and back.

The axes and vectors of ITK are those of acreg in reverse order, its vectors are in mm, and a composite applies the
transform that was added last first.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from acreg.geometry import Image
from acreg.geometry.displacement import slabs, voxel_indices
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine, Displacement, Velocity
from acreg.geometry.transform import Transform

FLOAT32_MM = 1000.0
"""Below this length float32 holds a vector to 3e-5 mm."""


def to_itk(transform: Transform) -> sitk.CompositeTransform:
    """The same maps as SimpleITK transforms."""
    composite = sitk.CompositeTransform(transform.fixed.rank)
    for part in reversed(transform.maps):  # ITK applies the last transform first
        if isinstance(part, Affine):
            composite.AddTransform(affine_to_itk(part))
        else:
            field = part.displacement if isinstance(part, Velocity) else part
            composite.AddTransform(sitk.DisplacementFieldTransform(field_to_itk(field)))
    return composite


def image_to_itk(image: Image) -> sitk.Image:
    """The same image: float32, or int32 of labels."""
    made = sitk.GetImageFromArray(image.array)
    image.grid.copy_to_itk(made)
    return made


def affine_to_itk(part: Affine) -> sitk.AffineTransform:
    """The same map, with its centre at 0."""
    matrix = part.matrix[:-1, :-1][::-1, ::-1]
    return sitk.AffineTransform(matrix.ravel().tolist(), part.matrix[:-1, -1][::-1].tolist())


def field_to_itk(part: Displacement) -> sitk.Image:
    """The vectors in mm, float64, which is what SimpleITK takes for a transform."""
    mm = part.in_mm(part.vectors.astype(float))
    field = sitk.GetImageFromArray(np.ascontiguousarray(mm[..., ::-1]), isVector=True)
    part.grid.copy_to_itk(field)
    return field


def whole_field(transform: Transform) -> sitk.Image:
    """All maps as one field in mm on the fixed grid; float32 if its error is below 3e-5 mm, otherwise float64."""
    fixed = transform.fixed
    mm = np.empty((*fixed.shape, fixed.rank))
    for part in slabs(fixed.shape):
        points = fixed.to_world(voxel_indices(fixed.shape, part)).reshape(-1, fixed.rank)
        mm[part] = (transform.warp_points(points, to="moving") - points)[:, ::-1].reshape(mm[part].shape)
    if np.abs(mm).max() < FLOAT32_MM:
        mm = mm.astype(np.float32)
    field = sitk.GetImageFromArray(mm, isVector=True)
    fixed.copy_to_itk(field)
    return field


def affine_from_itk(found: sitk.Transform) -> Affine:
    """A linear transform of SimpleITK."""
    rank = found.GetDimension()
    origin = np.array(found.TransformPoint([0.0] * rank))
    columns = [np.array(found.TransformPoint(unit.tolist())) - origin for unit in np.eye(rank)]
    matrix = np.eye(rank + 1)
    matrix[:-1, :-1] = np.stack(columns, axis=1)[::-1, ::-1]
    matrix[:-1, -1] = origin[::-1]
    return Affine(matrix)


def field_from_itk(field: sitk.Image) -> Displacement:
    """An image of vectors in mm."""
    grid = Grid.from_itk(field)
    mm = sitk.GetArrayFromImage(field)[..., ::-1]
    return Displacement(mm @ np.linalg.inv(grid.matrix[:-1, :-1]).T, grid)
