"""CSV tables with text from data, which a spreadsheet must not take for formulas.

A spreadsheet calculates a cell that begins with ``=``, ``+``, ``-`` or ``@``. Such a text, unless it is a number, is
written after an apostrophe, which spreadsheets take for the mark of a text, and which is taken off again on reading.
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
"""The beginning of a text that is protected; with an apostrophe before it, so that every text comes back as it was."""


def write_rows(stream: TextIO, rows: Iterable[Sequence[Any]], lineterminator: str = "\n") -> None:
    """Write rows of texts and numbers."""
    line = io.StringIO(newline="")
    writer = csv.writer(line, lineterminator="\r\n")  # else a cell with one of the two would not be quoted
    for row in rows:
        line.seek(0)
        line.truncate()
        writer.writerow([_protected(cell) for cell in row])
        stream.write(line.getvalue().removesuffix("\r\n") + lineterminator)


def write_table(path: Path, rows: Iterable[Sequence[Any]], lineterminator: str = "\r\n") -> None:
    """Write rows of texts and numbers into a file, all at once; see `acreg.io.atomic_path`, whose errors are raised."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        write_rows(stream, rows, lineterminator)


def read_table(lines: Iterable[str], strict: bool = False, strip: bool = False) -> list[list[str]]:
    """The rows that `write_rows` wrote, or those of any other CSV.

    Args:
        lines: of the file.
        strict: refuse text after a closing quote.
        strip: without white space at the ends of cells.

    Raises:
        csv.Error: no CSV.
    """
    rows = csv.reader(lines, strict=strict)
    return [[_plain(cell.strip() if strip else cell) for cell in row] for row in rows]


def read_dicts(lines: Iterable[str], strip: bool = False) -> list[dict[str, str]]:
    """The rows after the first, by its names, without empty ones; a cell that a short row lacks is "".

    Raises:
        csv.Error: no CSV.
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
