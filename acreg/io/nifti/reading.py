"""Images in NIfTI, and in FreeSurfer's MGH and MGZ, by nibabel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.channels import check_colour_rank, check_rank, to_grey
from acreg.io.guards import decoding
from acreg.io.nifti.opening import nifti_values, open_nifti
from acreg.io.nifti.place import MM_PER_UNIT, has_place, nifti_affine, stored_affine

SCALED_PRECISION = 2.0**-21
"""Relative error of a value that was scaled by a slope and an intercept in float32."""


def read(path: Path, labels: bool, needs_spacing: bool = True) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` in array-axis order and the grid of a NIfTI or MGH file.

    `needs_spacing` is false if the caller gives the spacing, so that the header need not have one.
    """
    with decoding(path):
        image = open_nifti(path)
        affine = nifti_affine(image, path, needs_spacing)
        array = nifti_values(image, path)
        if labels and array.dtype != image.get_data_dtype():
            array = _whole_where_scaled(array, image.dataobj.inter)
        if array.dtype.fields:  # RGB24 and RGBA32
            array = _drop_trailing(np.stack([array[channel] for channel in array.dtype.names or ()]), keep=3)
            check_colour_rank(path, array.ndim - 1)
            array = to_grey(np.moveaxis(array, 0, -1), path, labels)
        array = _drop_trailing(array, keep=2)
        check_rank(path, array.shape)
        grid = Grid.from_affine(affine, array.shape[::-1])
        return array.T, grid if has_place(image) else replace(grid, plane=())


def from_nibabel(image: Any, name: str) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` in array-axis order and the grid of an image of nibabel in memory.

    Args:
        image: a `nibabel.spatialimages.SpatialImage`.
        name: its name in messages.

    Raises:
        AcregError: it has no affine matrix, has vectors or colours, or does not have 2 or 3 axes.
    """
    import nibabel

    array = np.asanyarray(image.dataobj)
    if image.affine is None or array.dtype.fields or array.dtype.kind == "c":
        raise AcregError(
            f"An image of nibabel has an affine and one real value a voxel. Received: {name} of {array.dtype} "
            f"{'without' if image.affine is None else 'with'} an affine. Give one channel, with its affine."
        )
    array = _drop_trailing(array, keep=2)
    if isinstance(image, nibabel.Nifti1Image):
        affine = stored_affine(image)
        affine[:3] *= MM_PER_UNIT.get(int(image.header["xyzt_units"]) % 8, 1.0)
    else:
        affine = np.array(image.affine, dtype=float)
    grid = Grid.from_affine(affine, array.shape[::-1])
    known = not isinstance(image, nibabel.Nifti1Image) or has_place(image)
    return array.T, grid if known else replace(grid, plane=())


def _whole_where_scaled(array: np.ndarray, intercept: float) -> np.ndarray:
    """Scaled labels, rounded to integers if they differ from these only by the float32 rounding of the scale."""
    whole = np.rint(array)
    return np.where(np.abs(array - whole) <= SCALED_PRECISION * (np.abs(whole) + abs(intercept)), whole, array)


def _drop_trailing(array: np.ndarray, keep: int) -> np.ndarray:
    """Drop trailing axes of size 1 while more than `keep` axes are left."""
    while array.ndim > keep and array.shape[-1] == 1:
        array = array[..., 0]
    return array
