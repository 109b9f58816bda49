"""DICOM, decoded by SimpleITK: single files, and folders that hold a series of slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.geometry.grid import Grid
from acreg.io.dicom_elements import check_elements
from acreg.io.files import DICOM, check_size, decoding, has_dicom_mark, suffix
from acreg.io.volumes import load_itk

DECODER = "GDCMImageIO"
MEASURED = ("CT", "MR", "PT", "NM")
"""Modalities whose values are measurements, to be kept however a screen should show them."""
UNEVEN = 0.1
"""Slice distances by which a slice may lie off its place in an even stack."""


@dataclass(frozen=True)
class _Slice:
    """What the header of a slice says: position and directions in LPS (x, y, z); size, spacing (x, y)."""

    path: Path
    series: str
    description: str
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    position: np.ndarray | None
    directions: np.ndarray | None


def load_dicom(path: Path, labels: bool) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a single file."""
    _information(path)
    return load_itk(path, labels, DECODER)


def load_series(folder: Path, labels: bool, series: str | None) -> tuple[np.ndarray, Grid]:
    """The array `(z, y, x)` and the grid of a series of slices, sorted by their positions.

    Raises:
        AcregError: no DICOM files, unreadable ones, or slices that make no volume: several at one place, missing ones,
            unequal distances, sizes or directions.
        UsageError: several series and none chosen, or no series of that UID.
    """
    slices = _chosen(_headers(folder), folder, series)
    if len(slices) == 1:
        return load_dicom(slices[0].path, labels)
    with decoding(folder):
        slices, grid = _stack(slices, folder)
    check_size(folder, grid.shape, 4, sum(s.path.stat().st_size for s in slices))
    array = np.empty(grid.shape, np.float32)
    for plane, one in zip(array, slices, strict=True):  # file by file: in PET each slice has its own rescaling
        plane[:] = load_itk(one.path, labels, DECODER)[0]
    return array, grid


def _headers(folder: Path) -> list[_Slice]:
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    files = [f for f in files if (suffix(f) in DICOM or has_dicom_mark(f)) and f.name.upper() != "DICOMDIR"]
    if not files:
        raise AcregError(
            f"An image is a file, or a folder with the slices of a DICOM series. Received: {folder}, a folder in which "
            "no DICOM file lies (folders in it are not searched). Name a single file."
        )
    return [_header(file) for file in files]


def _header(path: Path) -> _Slice:
    reader = _information(path)
    with decoding(path):
        position, directions = _numbers(reader, "0020|0032"), _numbers(reader, "0020|0037")
        return _Slice(
            path,
            _text(reader, "0020|000e"),
            _text(reader, "0008|103e"),
            tuple(reader.GetSize()),
            tuple(reader.GetSpacing()[:2]),
            position if position is not None and len(position) == 3 else None,
            directions.reshape(2, 3) if directions is not None and len(directions) == 6 else None,
        )


def _information(path: Path) -> Any:
    """SimpleITK's reader of a file, with the header read and checked."""
    import SimpleITK as sitk

    check_elements(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(DECODER)
    reader.SetFileName(str(path))
    with decoding(path):
        reader.ReadImageInformation()
    if _text(reader, "0028|0004") == "MONOCHROME1" and _text(reader, "0008|0060") in MEASURED:
        raise AcregError(
            "Measured values are stored as they are, MONOCHROME2. Received: "
            f"{path}, {_text(reader, '0008|0060')} in MONOCHROME1, which ITK turns into its negative as it does for "
            "X-rays. Convert it to NIfTI with the scanner's or the archive's software."
        )
    return reader


def _text(reader: Any, tag: str) -> str:
    return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""


def _numbers(reader: Any, tag: str) -> np.ndarray | None:
    text = _text(reader, tag)
    return np.array([float(part) for part in text.split("\\")]) if text else None


def _chosen(slices: Sequence[_Slice], folder: Path, series: str | None) -> list[_Slice]:
    by_series: dict[str, list[_Slice]] = defaultdict(list)
    for one in slices:
        by_series[one.series].append(one)
    listed = "; ".join(
        f"{uid} ({same[0].description or 'no description'}, {len(same)} slices of "
        f"{'x'.join(map(str, same[0].size[:2]))})"
        for uid, same in sorted(by_series.items())
    )
    if series is not None and series not in by_series:
        raise UsageError(
            f"A series is chosen among those in the folder. Received: {series!r}; {folder} has {listed}. Correct the "
            "UID."
        )
    if series is None and len(by_series) > 1:
        raise UsageError(
            f"A folder is read if one DICOM series lies in it. Received: {folder} with {len(by_series)}: {listed}. "
            "Choose one by its UID, read_image(folder, series=UID), or move its files to a folder of their own."
        )
    return by_series[series] if series is not None else list(slices)


def _stack(slices: Sequence[_Slice], folder: Path) -> tuple[list[_Slice], Grid]:
    """The slices in order of their positions, and the grid of the volume that they make.

    The axis along the slices is the line through their positions, so that a tilted gantry gives a sheared grid.
    """
    where = f"the series {slices[0].series} in {folder}"
    _check_alike(slices, where)
    directions: Any = slices[0].directions
    normal = np.cross(*directions)
    ordered = sorted(slices, key=lambda one: float(normal @ one.position))
    positions = np.array([one.position for one in ordered])
    distances = np.diff(positions @ normal)
    usual = float(np.median(distances))
    if usual <= 0 or distances.min() < 0.01 * usual:
        twin = int(np.argmin(distances))
        raise AcregError(
            f"The slices of a series lie at different places. Received: {where}, where {ordered[twin].path.name} and "
            f"{ordered[twin + 1].path.name} lie at one (several times or contrasts?). Keep the files of one volume in "
            "the folder."
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    off = np.linalg.norm(positions - positions[0] - np.arange(len(positions))[:, None] * step, axis=1)
    if off.max() > UNEVEN * np.linalg.norm(step):
        gap = int(np.argmax(np.abs(distances - usual)))
        raise AcregError(
            f"The slices of a series lie at equal distances, without gaps. Received: {where} with {distances[gap]:.4g} "
            f"mm between {ordered[gap].path.name} and {ordered[gap + 1].path.name}, where {usual:.4g} mm is usual. Add "
            "the slices that are missing, or resample the series with another program."
        )
    spacing = (float(np.linalg.norm(step)), *slices[0].spacing[::-1])
    lps = np.stack([*directions, step / spacing[0]], axis=1)  # columns: along the x, y, z indices
    shape = (len(ordered), *slices[0].size[1::-1])
    return ordered, Grid(shape, spacing, tuple(positions[0][::-1]), lps[::-1, ::-1])  # type: ignore[arg-type]


def _check_alike(slices: Sequence[_Slice], where: str) -> None:
    bare = [one.path.name for one in slices if one.position is None or one.directions is None]
    if bare:
        raise AcregError(
            "The slices of a series have a position and an orientation (tags 0020,0032 and 0020,0037). Received: "
            f"{where}, where {bare[0]} lacks them. Name that file to read it as a 2-D image."
        )
    sizes, spacings = sorted({one.size for one in slices}), np.array([one.spacing for one in slices])
    if len(sizes) > 1 or sizes[0][2:] != (1,) or np.ptp(spacings, axis=0).max() > 1e-3:
        raise AcregError(
            f"The slices of a series have one size, one frame and one spacing. Received: {where} with sizes {sizes} "
            f"and spacings {spacings.min(axis=0).tolist()} to {spacings.max(axis=0).tolist()} mm. Keep the files of "
            "one volume in the folder, or name the one file that holds the volume."
        )
    directions = np.array([one.directions for one in slices])
    if np.ptp(directions, axis=0).max() > 1e-3:
        raise AcregError(
            f"The slices of a series are parallel. Received: {where} with slices in several directions (localisers?). "
            "Keep the files of one volume in the folder."
        )
