"""The file formats of points: CSV, and the markups of 3D Slicer (`.fcsv`, `.mrk.json`).

A format is a class that holds the complete content of a file and knows where the coordinates are in it: (x, y, z) in
mm, in the coordinate system of the file.
"""

from __future__ import annotations

import copy
import csv
import io
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError, UsageError

FORMATS = (".csv", ".fcsv", ".mrk.json")
FROM_RAS = {"LPS": np.ones(3), "RAS": np.array([-1.0, -1.0, 1.0])}
ROWS = 10**6
"""Largest number of lines of a table."""
MOVED_BY_THEIR_POINTS = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")
SLICER_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def check_points_format(path: Path) -> str:
    """The format of the suffix; raises `UsageError` for another suffix."""
    for format_ in FORMATS:
        if path.name.lower().endswith(format_):
            return format_
    raise UsageError(f"Points are kept in {', '.join(FORMATS)}. Received: {path}. Choose one of these suffixes.")


@dataclass(frozen=True)
class Table:
    """A `.csv` or `.fcsv` file: rows of cells, where the rows in `places` are points."""

    format: str
    rows: list[list[str]]
    places: list[int]
    columns: dict[str, int]
    system: str = "LPS"

    @property
    def systems(self) -> list[str]:
        """The coordinate system of each point: LPS or RAS."""
        return [self.system] * len(self.places)

    @classmethod
    def parse(cls, text: str, path: Path, format_: str) -> Table:
        """The content of a file. Raises `AcregError` for what is wrong with it."""
        rows = list(itertools.islice(csv.reader(io.StringIO(text, newline="")), ROWS + 1))
        if len(rows) > ROWS:
            raise AcregError(f"A points file has at most {ROWS} lines. Received: {path}, which has more. Split it.")
        filled = [place for place, row in enumerate(rows) if any(cell.strip() for cell in row)]
        system = "LPS"
        if format_ == ".csv":
            header, places = (rows[filled[0]] if filled else []), filled[1:]
        else:
            comments = "\n".join(",".join(rows[place]) for place in filled if rows[place][0].startswith("#"))
            system = _system(_entry(comments, "CoordinateSystem"), path)
            header = (_entry(comments, "columns") or "").split(",")
            places = [place for place in filled if not rows[place][0].startswith("#")]
        columns = {name.strip().lower(): index for index, name in reversed(list(enumerate(header)))}
        twice = [name for name in "xyz" if [cell.strip().lower() for cell in header].count(name) > 1]
        if twice:
            raise AcregError(f"A points file has one column of each name. Received: {path} with {twice[0]} twice.")
        missing = [name for name in ("x", "y") if name not in columns]
        if missing:
            hint = " Separate the columns with commas, not semicolons." if ";" in "".join(header) else ""
            raise AcregError(
                f"A points file has a header with the columns x, y and, in 3-D, z. Received: {path}, which lacks "
                f"{' and '.join(missing)}.{hint or ' Add a header such as x,y,z,label.'}"
            )
        if not places:
            raise AcregError(f"A points file holds at least one point. Received: {path} with a header alone.")
        width = max(columns[axis] for axis in ("x", "y", "z") if axis in columns)
        for place in places:
            if len(rows[place]) <= width:
                raise AcregError(
                    f"Each line of a points file has a cell for each coordinate. Received: {path}, line {place + 1}: "
                    f"{','.join(rows[place])[:60]}. Complete or remove it."
                )
        return cls(format_, rows, places, columns, system)

    def cells(self) -> list[list[Any]]:
        """The coordinates of each point as the file has them, x first; text in a table."""
        axes = [self.columns[axis] for axis in ("x", "y", "z") if axis in self.columns]
        return [[self.rows[place][axis] for axis in axes] for place in self.places]

    def names(self) -> list[str]:
        """A name for each point, "" where it has none."""
        column = self.columns.get("label", self.columns.get("name"))
        rows = [self.rows[place] for place in self.places]
        return [row[column].strip() if column is not None and column < len(row) else "" for row in rows]

    def signs(self) -> np.ndarray:
        """`(n, 2)` or `(n, 3)`: what the coordinates are multiplied by, to LPS and back."""
        return np.array([FROM_RAS[system][: 3 if "z" in self.columns else 2] for system in self.systems])

    def text(self, xyz: np.ndarray) -> str:
        """The file's text with coordinates `(n, 2)` or `(n, 3)`, in its own system, and everything else as it was."""
        rows = copy.deepcopy(self.rows)
        for place, position in zip(self.places, xyz.tolist(), strict=True):
            for axis, value in zip("xyz", position):
                rows[place][self.columns[axis]] = repr(value)
        written = io.StringIO(newline="")
        csv.writer(written, lineterminator="\n").writerows(rows)
        return written.getvalue()


@dataclass(frozen=True)
class Markups:
    """A `.mrk.json` file: the control points of all of its markups, one after the other."""

    content: dict[str, Any]
    systems: list[str]
    format: str = ".mrk.json"

    @classmethod
    def parse(cls, text: str, path: Path) -> Markups:
        """The content of a file. Raises `AcregError` for what is wrong with it."""
        content = json.loads(text)
        markups = content.get("markups") if isinstance(content, dict) else None
        if not isinstance(markups, list) or not all(isinstance(markup, dict) for markup in markups):
            raise AcregError(
                f"A markups file of 3D Slicer has a list `markups`. Received: {path}, which has none. Save the points "
                "from Slicer's module Markups."
            )
        systems = []
        for markup in markups:
            if markup.get("type", "Fiducial") not in MOVED_BY_THEIR_POINTS:
                raise AcregError(
                    f"Markups that can be moved point by point are {', '.join(MOVED_BY_THEIR_POINTS)}. Received: "
                    f"{path} with a {markup['type']}, which has a position and axes of its own. Leave it out."
                )
            if markup.get("coordinateUnits", "mm") not in ("mm", ["mm", "UCUM", "millimeter"]):
                raise AcregError(f"Points are in mm. Received: {path} in {markup['coordinateUnits']}.")
            system = _system(markup.get("coordinateSystem"), path)
            points = markup.get("controlPoints", [])
            if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
                raise AcregError(f"The `controlPoints` of a markup are a list. Received: {path} with other content.")
            for point in points:
                position = point.get("position")
                placed = isinstance(position, list) and len(position) == 3
                if not placed or point.get("positionStatus", "defined") != "defined":
                    raise AcregError(
                        "Each control point has a position of three numbers. Received: "
                        f"{path} with {point.get('label') or point.get('id') or 'a point'!r}, which was not placed. "
                        "Place it in Slicer, or remove it."
                    )
                systems.append(system)
        if not systems:
            raise AcregError(f"A points file holds at least one point. Received: {path} without control points.")
        return cls(content, systems)

    def cells(self) -> list[list[Any]]:
        """The coordinates of each point as the file has them, x first; text in a table."""
        return [list(point["position"]) for point in _control_points(self.content)]

    def names(self) -> list[str]:
        """A name for each point, "" where it has none."""
        return [str(point.get("label", "")) for point in _control_points(self.content)]

    def signs(self) -> np.ndarray:
        """`(n, 2)` or `(n, 3)`: what the coordinates are multiplied by, to LPS and back."""
        return np.array([FROM_RAS[system] for system in self.systems])

    def text(self, xyz: np.ndarray) -> str:
        """The file's text with coordinates `(n, 2)` or `(n, 3)`, in its own system, and everything else as it was."""
        content = copy.deepcopy(self.content)
        for point, position in zip(_control_points(content), xyz.tolist(), strict=True):
            point["position"][: len(position)] = position
        return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def _control_points(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [point for markup in content["markups"] for point in markup.get("controlPoints", [])]


def blank(format_: str, names: Sequence[str]) -> Table | Markups:
    """The content of a new file in LPS, all points at 0."""
    labels = [name or str(number) for number, name in enumerate(names, 1)]
    if format_ == ".mrk.json":
        points = [{"id": str(n), "label": label, "position": [0.0] * 3} for n, label in enumerate(labels, 1)]
        markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
        return Markups({"@schema": SLICER_SCHEMA, "markups": [markup]}, ["LPS"] * len(labels))
    if format_ == ".csv":
        head = [["x", "y", "z", "t", "label"]]
        body = [["0.0", "0.0", "0.0", "0", label] for label in labels]
        columns = head[0]
    else:
        columns = FCSV_COLUMNS.split(",")
        head = [
            ["# Markups fiducial file version = 4.11"],
            ["# CoordinateSystem = LPS"],
            [f"# columns = {columns[0]}", *columns[1:]],
        ]
        body = [
            [str(n), "0.0", "0.0", "0.0", "0", "0", "0", "1", "1", "1", "0", label, "", ""]
            for n, label in enumerate(labels, 1)
        ]
    places = list(range(len(head), len(head) + len(body)))
    return Table(format_, head + body, places, {name: index for index, name in enumerate(columns)})


def _entry(comments: str, key: str) -> str | None:
    """The value after `# key =` in the comment lines of an `.fcsv` file."""
    found = re.search(rf"^#\s*{key}\s*=\s*(.*)$", comments, re.MULTILINE)
    return found.group(1).strip() if found else None


def _system(written: Any, path: Path) -> str:
    """LPS or RAS; older versions of Slicer wrote 1 and 0."""
    system = {"0": "RAS", "1": "LPS"}.get(str(written).strip(" ,"), str(written).strip(" ,").upper())
    if system not in FROM_RAS:
        raise AcregError(
            "The coordinate system of Slicer's points is LPS or RAS (1 or 0 in older files). Received: "
            f"{path} with {written if written is not None else 'none'}. Save the points again from Slicer."
        )
    return system
