"""NRRD, MetaImage and other formats that SimpleITK decodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.atomic import not_whole
from acreg.io.files import check_colour_rank, check_rank, check_size, decoding, suffix, to_grey
from acreg.io.isolation import decode
from acreg.io.metaimage import metaimage_layout
from acreg.io.nrrd import nrrd_layout
from acreg.io.voxel_files import read_voxels

DECODERS = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}


@dataclass(frozen=True)
class Volume:
    """The content of a file, with any number of axes.

    Args:
        array: `(*reversed size)`, or `(*reversed size, channels)` if there are several channels.
        size: voxels by axis, in ITK's order with x first, like the other arguments.
        channels: values per voxel.
        spacing, origin: mm, LPS.
        direction: `(rank, rank)`; its columns are the directions of the axes.
    """

    array: np.ndarray
    size: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: np.ndarray

    @property
    def grid(self) -> Grid:
        """The grid. Raises `AcregError` for other than 2 or 3 axes."""
        direction: Any = self.direction[::-1, ::-1]
        return Grid(self.size[::-1], self.spacing[::-1], self.origin[::-1], direction)


def load_itk(path: Path, labels: bool, decoder: str = "") -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a file, by the decoder of its suffix or by the named one."""
    with decoding(path):
        return image_of(read_volume(path, decoder), path, labels)


def image_of(volume: Volume, path: Path, labels: bool) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a volume, without trailing axes of size 1; a slice keeps its position."""
    grid = None
    while len(volume.size) > 2 and volume.size[-1] == 1:
        grid = volume.grid.slice() if len(volume.size) == 3 else None
        volume = _drop_last_axis(volume)
    return grey_array(volume, path, labels), grid or volume.grid


def read_volume(path: Path, decoder: str = "") -> Volume:
    """The content of a file, by the decoder of its suffix or by the named ITK decoder.

    Raises:
        AcregError: the header is damaged, or the content of the file differs from what its header announces.
    """
    if decoder:
        return _read_by_itk(path, decoder)
    decoder = DECODERS[suffix(path)]
    layout, axis = nrrd_layout(path) if decoder == "NrrdImageIO" else metaimage_layout(path)
    channels = 1 if axis is None else layout.sizes[axis]
    size = tuple(n for k, n in enumerate(layout.sizes) if k != axis)
    header, _ = decode("itk_header", path, decoder=decoder)
    if (tuple(header["size"]), header["channels"]) != (size, channels):
        raise AcregError(
            f"The header of an image says one thing. Received: {path}, whose sizes {layout.sizes} ITK takes for "
            f"{header['size']} with {header['channels']} channels. Convert it with another program."
        )
    array = read_voxels(path, layout)
    if axis is not None:
        array = np.moveaxis(array, -1 - axis, -1)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return _volume(header, array if channels > 1 else array.reshape(size[::-1]))


def _read_by_itk(path: Path, decoder: str) -> Volume:
    """Read a file with an ITK decoder in a separate process, after a check of the size that the header announces."""
    header, _ = decode("itk_header", path, decoder=decoder)
    values = (*header["size"], header["channels"])
    check_size(path, values, header["itemsize"], path.stat().st_size)
    facts, (array,) = decode("itk_voxels", path, math.prod(values) * header["itemsize"], decoder=decoder)
    return _volume(facts, array)


def _volume(facts: Mapping[str, Any], array: np.ndarray) -> Volume:
    """The array with the geometry that ITK reports."""
    size, spacing, origin = (tuple(facts[name]) for name in ("size", "spacing", "origin"))
    return Volume(
        array, size, facts["channels"], spacing, origin, np.reshape(facts["direction"], (len(size), len(size)))
    )


def grey_array(volume: Volume, path: Path, labels: bool) -> np.ndarray:
    """The array `(*spatial)` of a volume of 2 or 3 axes; a 2-D colour image becomes grey."""
    array = volume.array
    if volume.channels > 1:
        check_colour_rank(path, len(volume.size))
        if volume.channels not in (3, 4) or array.min() < 0:  # a vector field is not a colour image
            raise AcregError(
                f"A pixel holds one value or a colour, three or four values from 0 on. Received: {path} with "
                f"{volume.channels} values a pixel, the least of them {array.min():g}. Save one channel."
            )
        array = to_grey(array, path, labels)
    check_rank(path, volume.size)
    return array


def save_itk(array: np.ndarray, grid: Grid, path: Path, vectors: bool = False) -> None:
    """Write `(*spatial)`, or `(*spatial, channels)` of vectors, by SimpleITK and read it back.

    ITK does not always report a full disk.
    """
    import SimpleITK as sitk

    shape = (*grid.volume().shape, *array.shape[grid.rank :])
    image = sitk.GetImageFromArray(array.reshape(shape), isVector=vectors)
    grid.volume().copy_to_itk(image)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
        complete = np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).reshape(array.shape), array)
    except RuntimeError:
        complete = False
    if not complete:
        raise not_whole(path)


def _drop_last_axis(volume: Volume) -> Volume:
    """A volume without its last axis, of size 1; directions that leave the plane become the identity."""
    rank = len(volume.size) - 1
    direction = volume.direction[:rank, :rank]
    if np.abs(np.linalg.norm(direction, axis=0) - 1).max() > 1e-3:
        direction = np.eye(rank)
    return replace(
        volume,
        array=volume.array[0],
        size=volume.size[:rank],
        spacing=volume.spacing[:rank],
        origin=volume.origin[:rank],
        direction=direction,
    )
