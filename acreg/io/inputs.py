"""Conversion of images in memory or in files: an `Image`, an array, an image of SimpleITK or nibabel, or a path."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid, Image
from acreg.geometry.image import Kind
from acreg.io.image import read_image, read_labels
from acreg.io.nifti.reading import from_nibabel

ImageLike = Image | np.ndarray | str | os.PathLike[str]
"""Also a `SimpleITK.Image` or an image of nibabel; these have no types that could be listed."""


def as_image(value: ImageLike | Any, name: str, kind: Kind = "intensity") -> Image:
    """Convert an image in memory, or read one from a file.

    Args:
        value: an `Image`; an array `(*spatial)` with a spacing of 1; a `SimpleITK.Image` with one value per voxel; an
            image of nibabel; or a path, which `acreg.io.read_image` (or `read_labels`) reads.
        name: name in messages of an image without a file, such as "fixed".
        kind: "intensity" or "labels".

    Raises:
        AcregError: as for `Image` and the readers; also for vectors or colours in memory.
        UsageError: the value has another type, or an `Image` of intensities is given where labels are needed.
    """
    if isinstance(value, Image):
        if kind == "labels" and value.kind != "labels":
            raise UsageError(
                f"Labels are an image of kind 'labels'. Received: {value.name or name}, of kind {value.kind!r}. Read "
                "it by acreg.io.read_labels, or make it by Image(..., kind='labels')."
            )
        return value
    if isinstance(value, np.ndarray):
        return Image(value, Grid(value.shape), kind, name)
    if isinstance(value, (str, os.PathLike)):
        return read_labels(value) if kind == "labels" else read_image(value)
    sitk, nibabel = (sys.modules.get(package) for package in ("SimpleITK", "nibabel"))
    if sitk is not None and isinstance(value, sitk.Image):
        if value.GetNumberOfComponentsPerPixel() != 1:
            raise AcregError(
                f"An image has one value a voxel. Received: {name} with {value.GetNumberOfComponentsPerPixel()} values "
                "a voxel. Choose one of them, or make it grey."
            )
        return Image(sitk.GetArrayFromImage(value), Grid.from_itk(value), kind, name)
    if nibabel is not None and isinstance(value, nibabel.spatialimages.SpatialImage):
        array, grid = from_nibabel(value, name)
        return Image(array, grid, kind, name)
    raise UsageError(
        "An image is a path, an acreg.Image, an array, or an image of SimpleITK or nibabel. Received: "
        f"{name}, a {type(value).__name__}. Convert it to one of these."
    )
