"""CSV tables with text from data, which a spreadsheet must not interpret as formulas.

A spreadsheet evaluates a cell that begins with ``=``, ``+``, ``-`` or ``@``. Such a text, unless it is a number, is
written with a preceding apostrophe, by which spreadsheets recognise a text. The apostrophe is removed on reading.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from acreg.io.atomic import atomic_path

FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""The beginning of a text that is protected, with or without an apostrophe, so that reading restores every text."""


def write_rows(stream: TextIO, rows: Iterable[Sequence[Any]], lineterminator: str = "\n") -> None:
    """Write rows of texts and numbers."""
    line = io.StringIO(newline="")
    writer = csv.writer(line, lineterminator="\r\n")  # otherwise a cell with one of the two would not be quoted
    for row in rows:
        line.seek(0)
        line.truncate()
        writer.writerow([_protected(cell) for cell in row])
        stream.write(line.getvalue().removesuffix("\r\n") + lineterminator)


def write_table(path: Path, rows: Iterable[Sequence[Any]], lineterminator: str = "\r\n") -> None:
    """Write rows of texts and numbers to a file in one step; see `acreg.io.atomic_path`, whose errors are raised."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        write_rows(stream, rows, lineterminator)


def read_table(lines: Iterable[str], strict: bool = False, strip: bool = False) -> list[list[str]]:
    """The rows of a CSV file, written by `write_rows` or by another program.

    Args:
        lines: the lines of the file.
        strict: refuse text after a closing quote.
        strip: remove white space at the ends of cells.

    Raises:
        csv.Error: the lines are not CSV.
    """
    rows = csv.reader(lines, strict=strict)
    return [[_plain(cell.strip() if strip else cell) for cell in row] for row in rows]


def read_dicts(lines: Iterable[str], strip: bool = False) -> list[dict[str, str]]:
    """The non-empty rows after the header, as dictionaries by column name; cells missing from a short row are "".

    Raises:
        csv.Error: the lines are not CSV.
    """
    rows = read_table(lines, strip=strip)
    header = rows[0] if rows else []
    return [dict(zip(header, row + [""] * len(header), strict=False)) for row in rows[1:] if row]


def _protected(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) and not _is_number(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()
