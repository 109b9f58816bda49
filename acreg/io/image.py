"""Images and labels with their grid, read from and written to files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from acreg.errors import UsageError
from acreg.geometry.grid import Grid
from acreg.geometry.image import Image, Kind
from acreg.geometry.label_grid import labels_on
from acreg.io.formats import DICOM, READ, Format, writer
from acreg.io.guards import check_file, check_name, format_of
from acreg.io.label_values import check_label_regions, check_label_values

__all__ = ["Image", "read_image", "read_labelled", "read_labels", "write_image"]


def read_image(
    path: str | os.PathLike[str], spacing: Sequence[float] | None = None, series: str | None = None
) -> Image:
    """Read a grey image in any of the formats of `acreg.io.formats.FORMATS`; the suffix determines the format.

    - Pictures have 8 or 16 bits; a TIFF may also hold signed integers or 32-bit floats. Colour becomes luminance
      (0.299 R + 0.587 G + 0.114 B), and transparency is ignored. TIFF images in which 0 is white are inverted. The
      print resolution of a picture is not its spacing.
    - NIfTI: lengths in metres or micrometres are converted to mm.
    - DICOM: a file with one slice or several frames, or a folder with the slices of one series, which are sorted by
      position; objects without an image in the folder are skipped. X-rays without any spacing need `spacing`. X-rays
      that are stored inverted (MONOCHROME1) are inverted within the range of their bits, so that bone is bright. The
      display window is not applied: clip to the desired range in the preprocessing.
    - HDF5: the dataset `image`, or the only dataset, with `Grid`'s spacing, origin and direction as its attributes.

    Values are not changed (16-bit values stay 0..65535), except that the rescaling of NIfTI and DICOM is applied (CT is
    in Hounsfield units). Trailing axes of size 1 (a slice stored as a volume, a series with one slice) are dropped,
    except in HDF5; the grid of a slice keeps its position in the patient as its `plane`. The voxels of an image take at
    most 4 GiB in memory; a picture has at most 89 million pixels (Pillow's `MAX_IMAGE_PIXELS`), or half as many in
    16-bit colour. An image that takes more than 1.25 GiB while it is read needs one stored byte for every 1000 bytes,
    because a small file can decompress to any size: store it uncompressed. The voxel files that a MetaImage or NRRD
    header names must be in its own folder; HDF5 files may not refer to other files.

    Damage is detected if the format has a checksum: in compressed NIfTI, MGH, NRRD, MetaImage and HDF5, in PNG, and in
    TIFF with deflate compression. Uncompressed files, JPEG, GIF, BMP and TIFF with other compression have none: only a
    missing part is detected.

    Args:
        path: the file, or the folder of a DICOM series.
        spacing: mm per voxel by array axis (rows, columns), instead of that of the file; 1 for PNG and similar formats,
            which have none.
        series: the UID of the DICOM series to read, if the folder has several.

    Returns:
        An `Image` with float32 `(rows, columns)` or `(z, y, x)`.

    Raises:
        AcregError: the file is missing, empty, truncated or not of the format of its suffix; it holds colour volumes,
            several frames, NaN, infinite or complex values; its grid is contradictory (sform and qform of NIfTI, or its
            voxel sizes, differ by more than half a voxel; there are no voxel sizes; a DICOM series has gaps); or
            programs interpret its header differently (camera rotation, or pixels that are not square without
            `spacing`).
        UsageError: the format is not supported, `spacing` does not fit, or the series must be chosen.
    """
    image = _read(path, "intensity", spacing is None, series)
    return image if spacing is None else replace(image, grid=_with_spacing(image.grid, spacing))


def read_labels(
    path: str | os.PathLike[str],
    values: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    series: str | None = None,
) -> Image:
    """Read a label map, from the same formats as `read_image`.

    Colour files are accepted if their channels are equal. A palette file gives its grey levels if its colours are
    grey, and otherwise its indices; a 1-bit file gives 0 and 1. A TIFF with more bits in which 0 is white is refused.
    A DICOM segmentation gives the numbers of its segments at the positions of its planes; it is refused if segments
    overlap.

    Args:
        path: the file, or the folder of a DICOM series.
        values: the labels that may occur; others are refused. None accepts all values that form regions, unlike grey
            levels (`acreg.io.label_values.has_regions`).
        spacing, series: as in `read_image`.

    Returns:
        An `Image` of kind "labels" with an int32 array.

    Raises:
        AcregError: as `read_image`; also fractional values, values that are not in `values`, grey levels of an image,
            or unequal colour channels.
        UsageError: as `read_image`.
    """
    labels = _checked(_read(path, "labels", spacing is None, series), values)
    return labels if spacing is None else replace(labels, grid=_with_spacing(labels.grid, spacing))


def read_labelled(
    image: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    values: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
) -> tuple[Image, Image]:
    """Read an image and its labels, and place the labels on the grid of the image; see `acreg.geometry.labels_on`.

    Args:
        image, labels: files.
        values: as in `read_labels`.
        spacing: spacing of the image, as in `read_image`. The labels are placed by the spacing in their own file, and
            then get this spacing as well.

    Raises:
        AcregError: as `read_image`, `read_labels` and `labels_on`.
        UsageError: as `read_image`.
    """
    drawn_on = _read(image, "intensity", spacing is None)
    drawn = labels_on(_checked(_read(labels, "labels", spacing is None), values), drawn_on)
    if spacing is None:
        return drawn_on, drawn
    grid = _with_spacing(drawn_on.grid, spacing)
    return replace(drawn_on, grid=grid), replace(drawn, grid=grid)


def write_image(image: Image, path: str | os.PathLike[str]) -> None:
    """Write an image or labels; the suffix, one of `acreg.io.formats.WRITTEN`, determines the format.

    Pictures are 2-D images: intensities are rounded and clipped to 0..255, or to 0..65535 (16 bits) if the
    largest is above 255; labels are stored with 8 bits if they fit, otherwise with 16. The medical formats keep float32
    intensities and int32 labels, and the grid. HDF5 keeps values and grid, and stores integers compactly.

    Raises:
        AcregError: the format cannot hold the image (a volume, negative labels), or nothing could be written.
        UsageError: the suffix is not one of these.
        OSError: the disk is full, or writing is not permitted.
    """
    path = Path(path)
    writer(path).module.write(image, path)


def _read(path: str | os.PathLike[str], kind: Kind, needs_spacing: bool, series: str | None = None) -> Image:
    """Read a file with its own grid; `needs_spacing` says whether the file must contain a spacing."""
    path, labels = Path(path), kind == "labels"
    check_name(path)
    if series is not None and not path.is_dir():
        raise UsageError(f"A series is chosen in a folder. Received: series={series!r} with {path}. Name the folder.")
    if path.is_dir():
        array, grid = DICOM.module.load_series(path, labels, series, needs_spacing)
        return Image(array, grid, kind, str(path), _is_placed(DICOM, grid))
    known = format_of(path)
    if known is not None or not path.is_file():
        check_file(path)
    if known is None:
        raise UsageError(f"Images are read from {', '.join(READ)}. Received: {path}. Convert it to one of these.")
    array, grid = known.module.read(path, labels, needs_spacing)
    return Image(array, grid, kind, str(path), _is_placed(known, grid))


def _is_placed(known: Format, grid: Grid) -> bool:
    """Whether the header gave the position; that of DICOM does for volumes and slices, not for projections."""
    return known.has_place or (known is DICOM and (grid.rank == 3 or bool(grid.plane)))


def _checked(labels: Image, values: Sequence[int] | None) -> Image:
    if values is None:
        check_label_regions(labels.array, labels.name)
    else:
        check_label_values(labels.array, values, labels.name)
    return labels


def _with_spacing(grid: Grid, spacing: Sequence[float]) -> Grid:
    if len(spacing) != grid.rank or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise UsageError(
            f"The spacing of this image is {grid.rank} positive numbers, mm by array axis. Received: {tuple(spacing)}."
        )
    return replace(grid, spacing=tuple(spacing))
