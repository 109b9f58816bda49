"""Means over a group: of affine maps, of grids, and of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from acreg.errors import AcregError
from acreg.geometry import Affine, Grid, Image, Transform
from acreg.geometry.maps import Map

PERCENTILES = (0.5, 99.5)
"""The grey values of an image, without its background, that are matched among images."""
BACKGROUND = 0.5
"""Share of the outermost voxels with one value from which an image is known to continue with it beyond its extent."""


def mean_affine(maps: Sequence[Affine]) -> Affine:
    """The bi-invariant mean of affine maps: the `M` for which the logarithms of all `A M^-1` add up to zero.

    If all maps start in another space, `A R`, the mean is `M R`: the space from which `A M^-1` start does not depend on
    the one in which the maps were found.

    Raises:
        AcregError: see `logarithm`.

    Source: Pennec and Arsigny, Exponential barycenters of the canonical Cartan connection, 2013, section 4.
    """
    mean = maps[0].matrix
    for _ in range(100):
        back = Affine(np.linalg.inv(mean))
        step = np.mean([logarithm(Affine(each.matrix @ back.matrix)) for each in maps], axis=0)
        mean = linalg.expm(step) @ mean
        if np.abs(step).max() < 1e-9:
            break
    return Affine(mean)


def logarithm(affine: Affine) -> NDArray[np.float64]:
    """The real logarithm of the matrix of an affine map.

    Raises:
        AcregError: there is none: the map mirrors, or turns by about 180 degrees.
    """
    found = linalg.logm(affine.matrix)
    if (np.iscomplexobj(found) and np.abs(found.imag).max() > 1e-6) or not np.isfinite(found).all():
        raise AcregError(
            "The images of a group lie about the same way. Received: an image that is mirrored, or turned by about 180 "
            f"degrees, against the others: {affine.matrix.round(3).tolist()}. Correct its header, or turn it first."
        )
    return np.real(found)


def template_grid(grids: Sequence[Grid], maps: Sequence[Affine], spacing: float | None = None) -> Grid:
    """The grid of a template: median extent and spacing of the images, and the mean direction of their axes.

    Args:
        grids: those of the images.
        maps: for each image, the map from the template's space to it.
        spacing: of the template in mm along each axis; that of the images if left out.
    """
    own = [grid.reoriented() for grid in grids]
    direction = np.asarray(own[0].direction)
    if any(not np.allclose(grid.direction, direction, atol=1e-6) for grid in own):
        left, _, right = np.linalg.svd(np.mean([grid.direction for grid in own], axis=0))
        direction = left @ right
    boxes = []
    for grid, affine in zip(own, maps, strict=True):
        corners = grid.to_world(np.array(list(product(*((-0.5, n - 0.5) for n in grid.shape)))))
        inside = affine.invert_points(corners) @ direction
        boxes.append((inside.min(axis=0), inside.max(axis=0)))
    low, high = np.median(boxes, axis=0)
    sizes = np.median([grid.spacing for grid in own], axis=0) if spacing is None else np.full(len(low), spacing)
    shape = [max(1, round(n)) for n in (high - low) / sizes]
    first = (low + high) / 2 - (np.array(shape) - 1) / 2 * sizes
    origin = np.round(direction @ first, 6) + 0.0
    planes = {grid.plane for grid in own}
    return Grid(
        tuple(shape),
        tuple(sizes),
        tuple(origin),
        tuple(map(tuple, direction)),
        planes.pop() if len(planes) == 1 else (),
    )


class Mean(NamedTuple):
    """The mean image of a group, and the standard deviation of the grey values, float32 `(*spatial)`."""

    image: Image
    deviation: NDArray[np.float32]


def mean_image(grid: Grid, images: Iterable[tuple[Image, Sequence[Map]]], sharpen: float = 0.0) -> Mean:
    """The mean of warped images.

    Each image is resampled once. Its grey values are scaled so that the percentiles `PERCENTILES`, without the
    background, agree in all images; the mean has the mean of these percentiles. Where an image is not known, it does
    not count: beyond its extent, unless most of its outermost voxels have one value.

    Args:
        grid: of the mean.
        images: each image with the maps whose composition takes points of the grid to it.
        sharpen: share of the difference from the smoothed mean (a Gaussian of one voxel) that is added to it.
    """
    total, squares = np.zeros(grid.shape), np.zeros(grid.shape)
    count, shown = np.zeros(grid.shape, np.int32), np.zeros(grid.shape, bool)
    levels = []
    for image, maps in images:
        low, high, background, continues = _levels(image.array)
        transform = Transform(grid, image.grid, tuple(maps)).sampled()
        array = transform.warp_image(image, fill=background).array
        known = np.ones(grid.shape, bool) if continues else transform.inside(image.grid)
        scaled = np.where(known, (array.astype(np.float64) - low) / (high - low), 0.0)
        total, squares, count = total + scaled, squares + scaled**2, count + known
        shown |= known & (array != background)
        levels.append((low, high, background))
    low, high, background = np.mean(levels, axis=0)
    counted = np.maximum(count, 1)
    mean = total / counted
    deviation = np.sqrt(np.maximum(squares / counted - mean**2, 0)) * (high - low)
    result = np.where(shown, mean * (high - low) + low, background).astype(np.float32)
    if sharpen:
        from scipy import ndimage

        result += np.float32(sharpen) * (result - ndimage.gaussian_filter(result, 1.0, mode="nearest"))
    return Mean(Image(result, grid, name="the template", placed=True), np.where(shown, deviation, 0).astype(np.float32))


def _levels(array: NDArray[np.float32]) -> tuple[float, float, float, bool]:
    """Two percentiles of an image, its background, and whether it continues with it beyond its extent."""
    background = float(array[(0,) * array.ndim])
    shown = array[array != background]
    low, high = map(float, np.percentile(shown, PERCENTILES)) if shown.size else (background, background)
    if high <= low:
        low, high = float(array.min()), float(array.max())
    faces = [np.take(array, end, axis=axis).ravel() for axis in range(array.ndim) for end in (0, -1)]
    continues = float(np.mean(np.concatenate(faces) == background)) > BACKGROUND
    return low, high if high > low else low + 1.0, background, continues
