"""Points (landmarks) read from files and written to them.

The other contents of a file are kept, so that moved points are written back with their labels, ids, colours and other
columns.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.atomic import atomic_path
from acreg.io.guards import check_file, decoding
from acreg.io.points.formats import Markups, Table, blank, check_points_format

LARGEST = {".csv": 2**26, ".fcsv": 2**26, ".mrk.json": 2**25}
"""Largest size of a file in bytes: a parsed file takes up to 40 times as much memory."""


@dataclass(frozen=True, eq=False)
class Points:
    """Points in physical space, and the file that they were read from.

    Args:
        positions: `(n, rank)`, world coordinates in mm, array-axis order (see `acreg.geometry.Grid`): the (x, y, z) of
            ITK, LPS, in reverse order.
        names: a name for each point, "" for a point without a name; if left out, no point has a name.
        source: the content of the file that `read_points` read, into which `write_points` inserts the positions.

    Raises:
        AcregError: another shape, values that are not finite, or another number of names.
    """

    positions: np.ndarray
    names: tuple[str, ...] = ()
    source: Table | Markups | None = None

    def __post_init__(self) -> None:
        positions = np.array(self.positions, dtype=float)
        names = tuple(self.names) or ("",) * len(positions)
        if positions.ndim != 2 or positions.shape[1] not in (2, 3) or len(names) != len(positions):
            raise AcregError(
                f"Points are (n, 2) or (n, 3), with n names or none. Received: shape {positions.shape}, "
                f"{len(names)} names."
            )
        if not np.isfinite(positions).all():
            raise AcregError(f"The coordinates of points are finite. Received: {positions.tolist()}.")
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "names", names)


def read_points(path: str | os.PathLike[str], rank: int | None = None) -> Points:
    """Read points.

    Args:
        path: a `.csv` file with the columns x and y, and z in 3-D, in mm and LPS as in ITK and ANTs (names in a
            column `label` or `name`); or an `.fcsv` or `.mrk.json` file of 3D Slicer, in LPS or RAS as stated in the
            file.
        rank: number of axes of the image that the points belong to. With 2, (x, y) of 3-D points is used, and z must be
            0. If left out, all coordinates in the file are used.

    Raises:
        AcregError: the file is missing or damaged, lacks a column, has no points, a coordinate that is not a finite
            number, or an unknown coordinate system; or the points do not have `rank` coordinates.
        UsageError: the suffix is not supported.
    """
    path = Path(path)
    format_ = check_points_format(path)
    if path.is_file() and path.stat().st_size == 0:
        raise AcregError(f"A points file holds at least one point. Received: {path}, which is empty (0 bytes).")
    check_file(path)
    with decoding(path, f"{format_} in UTF-8"):
        if path.stat().st_size > LARGEST[format_]:
            raise AcregError(
                f"A {format_} of points has at most {LARGEST[format_] // 2**20} MiB. Received: {path} with "
                f"{path.stat().st_size / 2**20:.0f} MiB. Split it."
            )
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise AcregError(f"A file of points is text. Received: {path}, which holds bytes of 0. Get the file again.")
        source = Markups.parse(text, path) if format_ == ".mrk.json" else Table.parse(text, path, format_)
        xyz = _numbers(source.cells(), path) * source.signs()
    if rank == 2 and xyz.shape[1] == 3:
        if xyz[:, 2].any():
            raise AcregError(
                "Points of a 2-D image have two coordinates, or z = 0. Received: "
                f"{path} with z = {xyz[np.flatnonzero(xyz[:, 2])[0], 2]:g}. Give the points of this image."
            )
        xyz = xyz[:, :2]
    if rank not in (None, xyz.shape[1]):
        raise AcregError(
            f"Points of a {rank}-D image have {rank} coordinates. Received: {path} with the columns x and y only."
        )
    return Points(xyz[:, ::-1], tuple(source.names()), source)


def write_points(points: Points, path: str | os.PathLike[str]) -> None:
    """Write points in the format of the suffix.

    Points that were read from a file of the same format are inserted into its content: everything else, including the
    coordinate system, stays. Otherwise, a new file is written in LPS, with the names as labels: a CSV file with the
    columns `x,y,z,t,label`, as ANTs requires, or a list of markups.

    Raises:
        AcregError: the number of points is not that of the file they were read from.
        UsageError: the suffix is not supported.
        OSError: the disk is full, or writing is not permitted.
    """
    path = Path(path)
    format_ = check_points_format(path)
    source = points.source
    if source is None or source.format != format_:
        source = blank(format_, points.names)
    xyz, signs = points.positions[:, ::-1], source.signs()
    if len(xyz) != len(signs) or xyz.shape[1] > signs.shape[1]:
        raise AcregError(
            f"Points are written into the file that they were read from, one for one. Received: {xyz.shape} for "
            f"{signs.shape}. Leave out `source` to write a new file."
        )
    xyz = xyz * signs[:, : xyz.shape[1]]
    with atomic_path(path) as temporary:
        temporary.write_text(source.text(np.round(xyz, 9) + 0.0), encoding="utf-8")  # + 0.0: no "-0.0"


def _numbers(cells: list[list[Any]], path: Path) -> np.ndarray:
    for number, row in enumerate(cells, 1):
        for axis, cell in zip("xyz", row):
            try:
                value = float("nan" if isinstance(cell, bool) or "_" in str(cell) else cell)
            except (TypeError, ValueError, OverflowError):
                value = float("nan")
            if not np.isfinite(value):
                raise AcregError(
                    f"The coordinates of points are finite numbers. Received: {path}, point {number}, {axis} = "
                    f"{repr(cell)[:60]}. Correct or remove the point."
                )
    return np.array(cells, dtype=float)
