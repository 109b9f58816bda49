"""DICOM: single files, volumes of several frames, segmentations, and folders that hold a series of slices."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.geometry.grid import Grid
from acreg.io.dicom.frames import Frame, plane_grid, read_frames, stack
from acreg.io.dicom.header import SEGMENTATIONS, check_image, class_name, may_be_image, object_class, read_header, text
from acreg.io.dicom.pixels import COMPRESSED, stored_pixels
from acreg.io.dicom.segments import load_segmentation
from acreg.io.formats import DICOM, by_suffix
from acreg.io.guards import check_size, decoding, has_mark

if TYPE_CHECKING:
    from pydicom import Dataset

Headers = dict[Path, "Dataset"]


def read(path: Path, labels: bool, needs_spacing: bool = True) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a single file: a slice, a volume of several frames, a segmentation.

    Args:
        path: the file.
        labels: whether to read labels, which a segmentation holds.
        needs_spacing: False if the caller gives the spacing.

    Raises:
        AcregError: the file holds no image, or an image that cannot be read correctly, or a segmentation was to be read
            as an image.
    """
    with decoding(path):
        header = read_header(path)
        check_image(header, path)
        if not is_segmentation(header):
            return _volume({path: header}, str(path), labels, needs_spacing)
        if labels:
            return load_segmentation(path, header, needs_spacing)
    raise AcregError(
        f"An image has intensities. Received: {path}, a DICOM segmentation, which holds labels. Give it as labels, "
        "and the image that it belongs to as the image."
    )


def load_series(folder: Path, labels: bool, series: str | None, needs_spacing: bool = True) -> tuple[np.ndarray, Grid]:
    """The array `(z, y, x)` and the grid of a series of slices, sorted by their positions.

    Objects without an image (plans, structure sets, reports) are skipped; so are segmentations, unless labels are
    read.

    Raises:
        AcregError: no DICOM images, unreadable ones, or slices that do not form a volume: several at one position,
            missing slices, unequal distances, sizes or directions.
        UsageError: there are several series and none was chosen, or no series has this UID.
    """
    with decoding(folder):
        chosen = _chosen(_images(folder, labels), folder, series)
        if len(chosen) == 1:
            return read(next(iter(chosen)), labels, needs_spacing)
        mixed = next((path for path, header in chosen.items() if is_segmentation(header)), None)
        if mixed is not None:
            raise UsageError(f"A segmentation is read by itself. Received: {mixed} among other files. Name that file.")
        uid = text(next(iter(chosen.values())), "SeriesInstanceUID")
        return _volume(chosen, f"the series {uid} in {folder}", labels, needs_spacing)


def is_segmentation(header: Dataset) -> bool:
    """Whether the header is that of a DICOM segmentation, which can only be read as labels."""
    return object_class(header) in SEGMENTATIONS


def holds_labels(path: Path) -> bool:
    """Whether a DICOM file is a segmentation. Raises `AcregError` for one that cannot be read."""
    with decoding(path):
        return is_segmentation(read_header(path))


def dicom_files(folder: Path) -> list[Path]:
    """The files in a folder that are DICOM by their suffix or their DICOM mark, without the DICOMDIR of a disc."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    return [f for f in files if (by_suffix(f) is DICOM or has_mark(f, DICOM)) and f.name.upper() != "DICOMDIR"]


def read_headers(folder: Path) -> Headers:
    """The headers of all DICOM files in a folder. Raises `AcregError` for one that cannot be read."""
    headers = {}
    for path in dicom_files(folder):
        with decoding(path):
            headers[path] = read_header(path)
    return headers


def by_series(headers: Headers) -> dict[str, Headers]:
    """The headers of files, grouped by the UID of their series and sorted by it."""
    found: dict[str, Headers] = defaultdict(dict)
    for path, header in headers.items():
        found[text(header, "SeriesInstanceUID")][path] = header
    return dict(sorted(found.items()))


def _volume(headers: Headers, where: str, labels: bool, needs_spacing: bool) -> tuple[np.ndarray, Grid]:
    """The values of all frames of some files, sorted by position."""
    frames = [frame for path, header in headers.items() for frame in read_frames(path, header, needs_spacing)]
    ordered, grid = (frames, plane_grid(frames[0])) if len(frames) == 1 else stack(frames, where)
    shape = (len(frames), *frames[0].size)
    check_size(frames[0].path, shape, 4, sum(path.stat().st_size for path in headers), COMPRESSED)
    array = np.empty(shape, np.float64 if labels else np.float32)  # 32-bit labels stay as they are
    places: dict[Path, list[tuple[int, Frame]]] = defaultdict(list)
    for place, frame in enumerate(ordered):
        places[frame.path].append((place, frame))
    for path, planes in places.items():
        pixels = stored_pixels(path, headers[path], labels)
        for place, frame in planes:
            slope, intercept = frame.scaling  # separately for each frame: in PET they differ
            stored = pixels[frame.index]
            array[place] = stored if frame.scaling == (1.0, 0.0) else stored * slope + intercept
    return (array if len(frames) > 1 else array[0]), grid


def _images(folder: Path, labels: bool) -> Headers:
    """The headers of the images in a folder, of segmentations only if labels are read."""
    headers = read_headers(folder)
    if not headers:
        raise AcregError(
            f"An image is a file, or a folder with the slices of a DICOM series. Received: {folder}, a folder in which "
            "no DICOM file lies (folders in it are not searched). Name a single file."
        )
    images = {path: header for path, header in headers.items() if may_be_image(header)}
    found = {path: header for path, header in images.items() if labels or not is_segmentation(header)}
    if not found:
        kinds = sorted({class_name(header) for header in headers.values()})
        raise AcregError(
            f"A folder is read if the slices of a DICOM series lie in it. Received: {folder}, a folder with "
            f"{', '.join(kinds)} only. Name the folder of the images, and give segmentations as labels."
        )
    for path, header in found.items():
        check_image(header, path)
    return found


def _chosen(images: Headers, folder: Path, series: str | None) -> Headers:
    found = by_series(images)
    listed = "; ".join(
        f"{uid} ({text(first := next(iter(same.values())), 'SeriesDescription') or 'no description'}, {len(same)} "
        f"slices of {text(first, 'Columns')}x{text(first, 'Rows')})"
        for uid, same in found.items()
    )
    if series is not None and series not in found:
        raise UsageError(
            f"A series is chosen among those in the folder. Received: {series!r}; {folder} has {listed}. Correct the "
            "UID."
        )
    if series is None and len(found) > 1:
        raise UsageError(
            f"A folder is read if one DICOM series lies in it. Received: {folder} with {len(found)}: {listed}. "
            "Choose one by its UID, read_image(folder, series=UID), or move its files to a folder of their own."
        )
    return images if series is None else found[series]
