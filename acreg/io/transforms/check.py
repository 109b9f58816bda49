"""Comparison of a written transform, as SimpleITK reads and applies it, with the transform in acreg."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from acreg.geometry import Image
from acreg.geometry.displacement import slabs, voxel_indices
from acreg.geometry.grid import Grid
from acreg.geometry.transform import Border, Transform
from acreg.io.transforms.itk import image_to_itk

TOLERANCE = 1e-3
"""Largest accepted difference between acreg's and SimpleITK's warped images, relative to the intensity range."""
TOLERANCE_VOXELS = 0.01
"""Largest distance, in voxels of the moving grid, between the positions to which acreg and SimpleITK map a point. A
point that is this close to the border of the moving image may lie inside it in one program and outside in the other."""


def compare_with_itk(
    transform: Transform, back: sitk.Transform, image: Image | None, border: Border, fill: float
) -> dict[str, Any]:
    """Warp an image and map points with both transforms, and compare the results.

    SimpleITK has no border with edge values: for such a border, only voxels that map inside the image are compared.

    Args:
        transform: the transform that was written.
        back: the transform that SimpleITK read.
        image: an image in the moving space; a smooth pattern on the moving grid if None.
        border, fill: the values outside the image, see `Transform.warp_image`.

    Returns:
        The content of `<name>.check.json`. `voxels` is the number of compared voxels, of which `voxels_inside` map
        inside the image; `voxels_not_compared` map outside an image with edge values; `voxels_on_border` map to a point
        at most `TOLERANCE_VOXELS` from its border, where rounding determines the side: the programs chose different
        sides, and SimpleITK's value equals that of the other side in acreg.
    """
    image = _pattern(transform.moving) if image is None else image
    theirs = _warped_by_itk(transform.fixed, back, image)
    inside = np.isfinite(theirs)
    if border == "constant":
        theirs[~inside] = np.float32(fill)
    compared = np.isfinite(theirs)
    apart = np.where(compared, np.abs(transform.warp_image(image, border, fill).array - theirs), 0.0)
    extent = float(np.ptp(image.array)) or 1.0
    on_border = 0
    if border == "constant":
        on_border = _allow_other_side(apart, theirs, transform, image, fill, TOLERANCE * extent)
    return {
        "program": f"SimpleITK {sitk.Version_VersionString()}",
        "image": image.name or "pattern",
        "border": border,
        **({"fill": fill} if border == "constant" else {}),
        "voxels": int(compared.sum()),
        "voxels_inside": int(inside.sum()),
        "voxels_not_compared": int((~compared).sum()),
        "voxels_on_border": on_border,
        "largest_difference": float(apart.max() / extent),
        "largest_distance_voxels": _distance(transform, back),
    }


def round_trip(transform: Transform, inverse: Transform) -> dict[str, float]:
    """Round-trip distances in mm: how far fixed voxels that map into the moving image end from where they started."""
    fixed, moving = transform.fixed, transform.moving
    count, total, largest = 0, 0.0, 0.0
    for part in slabs(fixed.shape):
        start = fixed.to_world(voxel_indices(fixed.shape, part)).reshape(-1, fixed.rank)
        there = transform.warp_points(start, to="moving")
        inside = moving.contains(moving.to_index(there))
        apart = np.linalg.norm(inverse.warp_points(there[inside], to="moving") - start[inside], axis=1)
        count, total, largest = count + apart.size, total + apart.sum(), max(largest, apart.max(initial=0.0))
    return {"mean_round_trip_mm": float(total / max(count, 1)), "largest_round_trip_mm": float(largest)}


def _warped_by_itk(fixed: Grid, back: sitk.Transform, image: Image) -> np.ndarray:
    """NaN outside of the image."""
    resample = sitk.ResampleImageFilter()
    resample.SetSize(fixed.shape[::-1])
    resample.SetOutputSpacing(fixed.spacing[::-1])
    resample.SetOutputOrigin(fixed.origin[::-1])
    resample.SetOutputDirection(np.asarray(fixed.direction)[::-1, ::-1].ravel().tolist())
    resample.SetTransform(back)
    resample.SetOutputPixelType(sitk.sitkFloat64)
    resample.SetDefaultPixelValue(float("nan"))
    return sitk.GetArrayFromImage(resample.Execute(image_to_itk(image)))


def _allow_other_side(
    apart: np.ndarray, theirs: np.ndarray, transform: Transform, image: Image, fill: float, limit: float
) -> int:
    """Near the border of the image, replace differences above the limit by that to the value of the other side.

    Returns the number of voxels whose difference is then below the limit.
    """
    voxels = np.argwhere(apart > limit)
    places = image.grid.to_index(transform.warp_points(transform.fixed.to_world(voxels), to="moving"))
    from_border = np.minimum(places + 0.5, np.array(image.grid.shape) - 0.5 - places).min(axis=1)
    beside = np.abs(from_border) <= TOLERANCE_VOXELS
    voxels, places = voxels[beside], places[beside]
    edge = ndimage.map_coordinates(image.array, places.T, order=1, mode="nearest")
    other = np.where(image.grid.contains(places), fill, edge)
    at = tuple(voxels.T)
    apart[at] = np.minimum(apart[at], np.abs(other - theirs[at]))
    return int((apart[at] <= limit).sum())


def _distance(transform: Transform, back: sitk.Transform, points: int = 1000) -> float:
    """Largest distance along an axis, in voxels of the moving grid, between the points to which both map fixed voxels.

    Unlike the difference of the images, it is informative where the images do not overlap or are constant.
    """
    fixed, moving = transform.fixed, transform.moving
    some = np.linspace(0, np.prod(fixed.shape) - 1, points).astype(int)
    start = fixed.to_world(np.stack(np.unravel_index(some, fixed.shape), axis=1))
    theirs = np.array([back.TransformPoint(point[::-1].tolist())[::-1] for point in start])
    ours = transform.warp_points(start, to="moving")
    return float(np.abs(moving.to_index(theirs) - moving.to_index(ours)).max())


def _pattern(grid: Grid) -> Image:
    """Waves of about ten voxels along every axis."""
    indices = np.indices(grid.shape)
    return Image(sum(np.sin(0.6 * along + axis) for axis, along in enumerate(indices)), grid)
