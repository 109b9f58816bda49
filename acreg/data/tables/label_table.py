"""Label tables, which merge labels of a dataset: CSV files with the columns ``label,merged,name``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acreg.data.records import read_cells
from acreg.errors import AcregError, UsageError
from acreg.io import Image
from acreg.names import some

SHIPPED = Path(__file__).resolve().parent.parent / "label_tables"
COLUMNS = ("label", "merged", "name")


@dataclass(frozen=True)
class LabelTable:
    """Labels and their merged labels.

    Attributes:
        name: name of the table, for messages and for ``dataset.json``.
        merged: label in the files -> label in the result, where 0 drops it into the background.
        names: label in the result -> name.
    """

    name: str
    merged: dict[int, int]
    names: dict[int, str]

    def members(self, merged: int) -> list[int]:
        """The labels that become ``merged``, ascending."""
        return sorted(label for label, value in self.merged.items() if value == merged)

    def apply(self, labels: Image) -> np.ndarray:
        """The merged labels, int32 ``(*spatial)``.

        Raises:
            AcregError: a label that is not in the table.
        """
        known = np.array(sorted({0, *self.merged}), dtype=np.int32)
        targets = np.array([self.merged.get(int(label), 0) for label in known], dtype=np.int32)
        places = np.minimum(np.searchsorted(known, labels.array), len(known) - 1)
        unknown = np.unique(labels.array[known[places] != labels.array])
        if unknown.size:
            raise AcregError(
                f"A label table has a line for each label in the files. Received: {labels.name or 'labels'} with "
                f"{some(map(str, unknown), 10)}, which the table {self.name} lacks. Add a line for each label, with "
                "0 as `merged` to drop it."
            )
        return targets[places]


def read_label_table(name_or_path: str | os.PathLike[str]) -> LabelTable:
    """Read a label table.

    Its first line has the columns ``label`` (in the files), ``merged`` (in the result; 0 drops the label) and ``name``
    (of the merged label; ignored for 0). Other columns, and lines that begin with ``#``, are ignored.

    Args:
        name_or_path: a CSV file, or the name of a table that is shipped with acreg: ``dlmuse-16``, ``dlmuse-38``.

    Raises:
        UsageError: neither a file nor a known name.
        AcregError: the file is not UTF-8 text, a column is missing, a label is not an integer or is on two lines, a
            merged label has no name or two names, or two merged labels have the same name.
    """
    path, lines = read_lines(name_or_path, SHIPPED, COLUMNS, "label table")
    return _checked(path, lines)


def read_lines(
    name_or_path: str | os.PathLike[str], shipped: Path, columns: Sequence[str], what: str
) -> tuple[Path, list[tuple[str, ...]]]:
    """The lines of a table about labels, each with its cells in `columns`, and the file of the table.

    Args:
        name_or_path: a CSV file, or the name of a table in `shipped`.
        shipped: the folder of the tables that are shipped with acreg.
        columns: the required columns; others are ignored.
        what: the kind of table, for messages.

    Raises:
        UsageError: neither a file nor a known name.
        AcregError: the file is not UTF-8 text, a column is missing, or there are no lines.
    """
    known = {file.stem: file for file in sorted(shipped.glob("*.csv"))}
    path = known.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        raise UsageError(
            f"A {what} is a CSV file, or one of {', '.join(known)}. Received: {name_or_path}. Correct the name."
        )
    rows = read_cells(path, what, comments=True)
    header = rows[0] if rows else []
    missing = [column for column in columns if column not in header]
    if missing or len(rows) < 2:
        raise AcregError(
            f"A {what} has the columns {', '.join(columns)} and a line for each label. Received: {path}, which "
            f"has {'no lines' if not missing else 'no column ' + ' and no column '.join(missing)}. Add what is missing."
        )
    cells = [dict(zip(header, row, strict=False)) for row in rows[1:]]
    return path, [tuple(line.get(column, "") for column in columns) for line in cells]


def whole(cell: str, path: Path, line: Sequence[str], what: str) -> int:
    """The label in a cell of a table.

    Raises:
        AcregError: the cell is not an integer, or not one that label files can hold.
    """
    if not (cell.isascii() and cell.isdigit()) or int(cell) > np.iinfo(np.int32).max:
        raise AcregError(
            f"The labels in a {what} are whole numbers from 0 on. Received: {path} with {cell!r} in the line "
            f"{','.join(line)}. Correct the cell."
        )
    return int(cell)


def refuse_double(labels: Sequence[int], path: Path, what: str) -> None:
    """Refuse a table with a label on two lines.

    Raises:
        AcregError: a label is on two lines.
    """
    double = [label for label, count in Counter(labels).items() if count > 1]
    if double:
        raise AcregError(
            f"A {what} has one line a label. Received: {path} with {some(map(str, double))} on several lines. "
            "Delete the surplus lines."
        )


def _checked(path: Path, lines: list[tuple[str, ...]]) -> LabelTable:
    merged: dict[int, int] = {}
    names: dict[int, set[str]] = {}
    for line in lines:
        label, target = (whole(cell, path, line, "label table") for cell in line[:2])
        if label == 0 and target != 0:
            raise AcregError(
                f"0 is the background and stays so. Received: {path} with 0 merged into {target}. Delete this line."
            )
        merged[label] = target
        if target:
            names.setdefault(target, set()).add(line[2])
    refuse_double([int(line[0]) for line in lines], path, "label table")
    for target, found in sorted(names.items()):
        if len(found) > 1 or "" in found:
            raise AcregError(
                f"A merged label has one name. Received: {path} with {some(map(repr, sorted(found)))} for {target}. "
                "Write the same name on each of its lines."
            )
    result = {0: "background", **{target: min(found) for target, found in sorted(names.items())}}
    shared = [name for name, count in Counter(result.values()).items() if count > 1]
    if shared:
        raise AcregError(
            f"A name belongs to one merged label. Received: {path} with {some(map(repr, shared))} for several of them "
            "(0 is the background). Give each its own name."
        )
    return LabelTable(path.stem, merged, result)
