"""CSV files of pairs, with the columns ``fixed,moving`` and, if the true transform is known, ``transform``.

``transform`` names the file of the true transform, from the fixed image to the moving image, with a path relative to
the folder of the CSV file or absolute; an empty cell means none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.csv_tables import read_dicts, write_table
from acreg.io.documents import read_text
from acreg.names import some

PAIRS_NAME = "pairs.csv"
"""The file with the pairs of a dataset, in its folder."""

Pair = tuple[str, str]
"""Names of the fixed and of the moving subject."""


def read_pairs(path: Path | str, subjects: Sequence[str]) -> dict[Pair, Path | None]:
    """The pairs of a file in order, each with the file of its true transform, if it has one.

    Raises:
        AcregError: the file lacks a column, has no pairs or equal pairs, or names a subject that is not among
            `subjects` or a transform that does not exist.
    """
    path = Path(path)
    try:
        rows = read_dicts(io.StringIO(read_text(path, "file of pairs"), newline=""), strip=True)
        listed = [(row["fixed"], row["moving"]) for row in rows]
        cells = [row.get("transform", "") for row in rows]
        if not all(name for pair in listed for name in pair):
            raise ValueError("an empty cell")
    except (KeyError, ValueError, csv.Error) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else str(error)
        raise AcregError(
            "A file of pairs is a CSV with the columns fixed and moving, filled on every line. "
            f"Received: {path} with {reason}. Correct the file."
        ) from error
    pairs = {pair: path.parent / cell if cell else None for pair, cell in zip(listed, cells, strict=True)}
    unknown = sorted({name for pair in pairs for name in pair} - set(subjects))
    if unknown or len(pairs) < len(listed) or not pairs:
        found = "no pairs"
        if unknown:
            found = f"{len(unknown)} subjects that the split lacks, such as {some(unknown, 3)}"
        elif pairs:
            repeated = next(pair for pair in pairs if listed.count(pair) > 1)
            found = f"the pair {','.join(repeated)} more than once"
        raise AcregError(
            f"A file of pairs names subjects of the split, each pair once. Received: {path} with {found}. "
            "Correct the file, or choose the --split that its subjects are in."
        )
    missing = [str(file) for file in pairs.values() if file is not None and not file.is_file()]
    if missing:
        raise AcregError(
            "Every transform that a file of pairs names must exist (paths are relative to the file's folder). "
            f"Received: {path}, which names {some(missing, 3)}. Correct the column transform, or delete it."
        )
    return pairs


def write_pairs(path: Path | str, pairs: Mapping[Pair, Path | None]) -> None:
    """Write a file of pairs, with the column ``transform`` if one is known; paths inside the folder become relative."""
    path = Path(path)
    known = any(pairs.values())
    rows = [["fixed", "moving", *(["transform"] if known else [])]]
    rows += [[*pair, *([_cell(path.parent.resolve(), file)] if known else [])] for pair, file in pairs.items()]
    write_table(path, rows)


def _cell(folder: Path, file: Path | None) -> str:
    if file is None:
        return ""
    file = file.resolve()
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()
