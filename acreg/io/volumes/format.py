"""NRRD, MetaImage and other formats that SimpleITK decodes.

ITK's readers of NRRD and MetaImage fill missing voxels with uninitialised memory, open any file that a
header names, and crash on invalid headers. So the header is parsed and the voxels are decoded here; ITK, in a
separate process, only provides the geometry of headers that have passed the checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.io.atomic import atomic_path, not_whole
from acreg.io.channels import check_colour_rank, check_rank, to_grey
from acreg.io.contents import Contents
from acreg.io.formats import by_suffix
from acreg.io.guards import check_size, decoding
from acreg.io.guards.isolation import decode
from acreg.io.volumes.metaimage import metaimage_layout
from acreg.io.volumes.nrrd import nrrd_layout
from acreg.io.volumes.voxels import Layout, read_voxels

DECODERS = {"NRRD": ("NrrdImageIO", nrrd_layout), "MetaImage": ("MetaImageIO", metaimage_layout)}
"""By format: the ITK decoder, and the parser of the header."""


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


def read(path: Path, labels: bool, needs_spacing: bool = True) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a file."""
    with decoding(path):
        return image_of(read_volume(path), path, labels)


def write(image: Image, path: Path) -> None:
    """Write an image with its grid, float32 or int32."""
    with atomic_path(path) as temporary:
        save_itk(image.array, image.grid, temporary)


def write_channels(channels: Sequence[Image], path: Path) -> None:
    """Write a colour image or volume as float32 vectors."""
    with atomic_path(path) as temporary:
        save_itk(np.stack([c.array for c in channels], axis=-1), channels[0].grid, temporary, vectors=True)


def files(path: Path) -> list[Path]:
    """The header and the files of the voxels. Raises `AcregError` for a damaged header."""
    _, parse = _decoder(path)
    layout, _ = parse(path)
    return list(dict.fromkeys([path, *layout.files]))


def inspect(path: Path) -> Contents:
    """The contents of a file: an image, a vector field, or a series."""
    with decoding(path):
        volume = read_volume(path)
        array, rank = volume.array, len(volume.size)
        stored: dict[str, Any] = {
            "format": _decoder(path)[0].removesuffix("ImageIO"),
            "stored_as": f"{'vectors of ' if volume.channels > 1 else ''}{array.dtype}",
        }
        if volume.channels == rank and rank in (2, 3) and array.dtype.kind == "f":
            vectors = "mm, LPS (x, y, z), if it is one of ITK"
            return Contents(stored, array, volume.grid, "perhaps a displacement field", vectors, "mm")
        if len([n for n in volume.size if n > 1]) > 3:
            stored["shape_as_stored"] = list(volume.size)
            return Contents(stored, array, kind="series of images")
        return Contents(stored, *image_of(volume, path, labels=False))


def read_by_itk(path: Path, labels: bool, decoder: str) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a file that the named ITK decoder reads."""
    with decoding(path):
        header, _ = decode("itk_header", path, decoder=decoder)
        values = (*header["size"], header["channels"])
        check_size(path, values, header["itemsize"], path.stat().st_size)
        facts, (array,) = decode("itk_voxels", path, math.prod(values) * header["itemsize"], decoder=decoder)
        return image_of(_volume(facts, array), path, labels)


def image_of(volume: Volume, path: Path, labels: bool) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a volume, without trailing axes of size 1; a slice keeps its position."""
    grid = None
    while len(volume.size) > 2 and volume.size[-1] == 1:
        grid = volume.grid.slice() if len(volume.size) == 3 else None
        volume = _drop_last_axis(volume)
    return grey_array(volume, path, labels), grid or volume.grid


def read_volume(path: Path) -> Volume:
    """The content of a file.

    Raises:
        AcregError: the header is damaged, or the content of the file differs from what its header announces.
    """
    decoder, parse = _decoder(path)
    layout, axis = parse(path)
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


def _decoder(path: Path) -> tuple[str, Callable[[Path], tuple[Layout, int | None]]]:
    known = by_suffix(path)
    return DECODERS[known.name if known else ""]


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


def save_itk(
    array: np.ndarray, grid: Grid, path: Path, vectors: bool = False, header: Mapping[str, str] | None = None
) -> None:
    """Write `(*spatial)`, or `(*spatial, channels)` of vectors, by SimpleITK and read it back.

    ITK does not always report a full disk. `header` has further fields of an NRRD header.
    """
    import SimpleITK as sitk

    shape = (*grid.volume().shape, *array.shape[grid.rank :])
    image = sitk.GetImageFromArray(array.reshape(shape), isVector=vectors)
    grid.volume().copy_to_itk(image)
    for key, text in (header or {}).items():
        image.SetMetaData(key, text)
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
