"""Reading and writing of the files of a prepared dataset: lines of ``manifest.csv``, contents of ``dataset.json``."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from acreg.errors import AcregError
from acreg.io.atomic import atomic_path
from acreg.io.csv_tables import read_table, write_table
from acreg.io.documents import read_json, read_text
from acreg.names import SUBJECT_RULE, folded, is_file_name, some

SPLITS = ("train", "validation", "test")
"""The splits of a dataset."""
SPLIT_ALIASES = {"val": "validation"}
COLUMNS = ("subject", "image", "labels", "split")
"""The columns that a manifest has."""
OPTIONAL_COLUMNS = ("points", "group")


@dataclass(frozen=True)
class Record:
    """A subject of a dataset: its image file, label file (or None), split, group and points file."""

    subject: str
    image: Path
    labels: Path | None
    split: str
    group: str = ""
    points: Path | None = None


class DatasetInfo(BaseModel):
    """The contents of ``dataset.json``. ``spacing`` is in array-axis order; null means that each file has its own."""

    model_config = ConfigDict(extra="ignore")

    name: str
    labels: dict[int, str]
    spacing: list[float] | None = None
    unit: str = "mm"
    licence: str = ""
    source: str = ""
    preparation: dict[str, Any] = Field(default_factory=dict)

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: dict[int, str]) -> dict[int, str]:
        if any(key < 0 for key in value):
            raise ValueError("label values must be 0 or more")
        return dict(sorted({0: "background", **value}.items()))

    @field_validator("spacing")
    @classmethod
    def _spacing(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and (len(value) not in (2, 3) or not all(math.isfinite(v) and v > 0 for v in value)):
            raise ValueError("spacing must be 2 or 3 positive numbers")
        return value

    @field_validator("unit")
    @classmethod
    def _unit(cls, value: str) -> str:
        if value not in ("mm", "px"):
            raise ValueError('unit must be "mm" or "px"')
        return value


def split_name(value: str) -> str | None:
    """``train``, ``validation`` or ``test`` for a cell of the split column (``val`` is accepted), otherwise None."""
    value = value.strip()
    value = SPLIT_ALIASES.get(value, value)
    return value if value in SPLITS else None


def manifest_path(folder: Path | str) -> Path:
    """The manifest in the folder of a dataset (or the CSV itself).

    Raises:
        AcregError: the folder does not exist, or has no manifest.
    """
    folder = Path(folder)
    path = folder if folder.suffix.lower() == ".csv" else folder / "manifest.csv"
    if path.is_file():
        return path
    if not folder.exists():
        raise AcregError(
            f"A dataset is a folder with a manifest.csv. Received: {folder}, which does not exist. "
            "Make one with `acreg data prepare DATASET --source DIR --out DIR`, or name an existing folder."
        )
    raise AcregError(
        f"A dataset is a folder with a manifest.csv. Received: {folder}, which has none (an interrupted "
        "`acreg data prepare` leaves none: run it again). For your own images write a manifest.csv with the columns "
        f"{','.join(COLUMNS)}, or run `acreg data prepare folder --source DIR --out DIR`."
    )


def read_cells(path: Path, what: str, comments: bool = False) -> list[list[str]]:
    """The cells of a CSV, stripped, without empty lines and, with `comments`, without those that begin with ``#``.

    Raises:
        AcregError: the file, a kind of table called `what`, is not a CSV file in UTF-8.
    """
    try:
        text = io.StringIO(read_text(path, what), newline="")
        lines = (line for line in text if not (comments and line.startswith("#")))
        rows = read_table(lines, strict=comments, strip=True)
    except csv.Error as error:
        raise AcregError(
            f"A {what} must be a CSV in UTF-8. Received: {path} ({error}). Save it again as CSV (UTF-8)."
        ) from error
    return [row for row in rows if any(row)]


def read_rows(path: Path | str) -> list[dict[str, str]]:
    """The rows of a manifest as dictionaries of stripped strings; only the form of the table is checked.

    Raises:
        AcregError: the file is not UTF-8 text, is empty, has no rows, or lacks a column.
    """
    path = Path(path)
    table = read_cells(path, "manifest")
    header = table[0] if table else []
    missing = [column for column in COLUMNS if column not in header]
    surplus = [str(number) for number, row in enumerate(table[1:], 1) if any(row[len(header) :])]
    if surplus and not missing:
        raise AcregError(
            f"A line of a manifest has as many cells as its header ({len(header)}). Received: {path} with more in row "
            f"{some(surplus)}. Quote cells that contain a comma."
        )
    rows = [dict(zip(header, row + [""] * (len(header) - len(row)), strict=False)) for row in table[1:]]
    if header and missing:
        hint = " Separate the columns with commas, not semicolons." if ";" in header[0] else ""
        raise AcregError(
            f"A manifest needs the columns {', '.join(COLUMNS)}. Received: {path}, which lacks {', '.join(missing)} "
            f"and has {', '.join(header)}. Add the column to its first line.{hint}"
        )
    if not rows:
        raise AcregError(
            f"A manifest needs a line for each subject. Received: {path}, which has "
            f"{'only a header' if header else 'nothing in it'}. Add lines in the form {','.join(COLUMNS)}."
        )
    return rows


def resolve(folder: Path, cell: str) -> Path | None:
    """The file named in a cell of a manifest (relative to the manifest's folder, or absolute), or None if empty.

    Raises:
        AcregError: a relative path leaves the folder.
    """
    return _named(folder, cell) if cell else None


def _named(folder: Path, cell: str) -> Path:
    if not os.path.isabs(cell) and os.path.normpath(cell).split(os.sep)[0] == os.pardir:
        raise AcregError(
            f"A relative path in a manifest stays in the manifest's folder. Received: {cell}, which leaves {folder}. "
            "Write it as an absolute path if that file is meant."
        )
    return folder / cell


def read_records(path: Path | str) -> list[Record]:
    """The checked records of a manifest, in order.

    Raises:
        AcregError: see `read_rows`; also an empty subject or image cell, a subject on two lines, an unknown split, a
            missing file, a relative path that leaves the folder.
    """
    path = Path(path)
    rows, folder = read_rows(path), path.parent
    for column in ("subject", "image"):
        empty = [str(number) for number, row in enumerate(rows, 1) if not row[column]]
        if empty:
            raise AcregError(
                f"Each line of a manifest needs a {column}. Received: {path} with an empty one in row {some(empty)}. "
                "Fill the cell or delete the line."
            )
    unsafe = [row["subject"] for row in rows if not is_file_name(row["subject"])]
    if unsafe:
        raise AcregError(f"{SUBJECT_RULE}. Received: {some(map(repr, unsafe))} in {path}. Rename the subject.")
    wrong = sorted({row["split"] for row in rows if split_name(row["split"]) is None})
    if wrong:
        raise AcregError(
            f"The split of a subject is train, validation or test. Received: {some(map(repr, wrong))} in {path}. "
            "Correct the column split."
        )
    double = [name for name, count in Counter(folded(row["subject"]) for row in rows).items() if count > 1]
    if double:
        raise AcregError(
            f"A manifest has one line per subject, whose names differ in more than case and the form of accents. "
            f"Received: {path} with {some(double)} on several lines. Delete the surplus lines, or give distinct "
            "subject names and the same group."
        )
    records = [
        Record(
            subject=row["subject"],
            image=_named(folder, row["image"]),
            labels=resolve(folder, row["labels"]),
            split=split_name(row["split"]) or "",
            group=row.get("group", ""),
            points=resolve(folder, row.get("points", "")),
        )
        for row in rows
    ]
    missing = [str(p) for r in records for p in (r.image, r.labels, r.points) if p is not None and not p.is_file()]
    if missing:
        raise AcregError(
            f"Every file that a manifest names must exist (paths are relative to {folder}). Received: {path}, which "
            f"names {some(missing)}. Correct the paths; `acreg data check {folder}` lists all findings."
        )
    return records


def read_info(path: Path | str) -> DatasetInfo:
    """The checked ``dataset.json`` at ``path``.

    Raises:
        AcregError: the file is not JSON, or a key is missing or has the wrong type.
    """
    path = Path(path)
    try:
        return DatasetInfo.model_validate(read_json(path, "dataset's description"))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise AcregError(
            f"dataset.json must hold name, labels, spacing and unit. Received: {path} with {faults}. Correct the file, "
            "or delete it to have labels and spacing read from the files."
        ) from error
    except AcregError as error:
        raise AcregError(f"{error} Without the file, labels and spacing are read from the label files.") from error


def label_names_near(labels: Path | str) -> dict[int, str]:
    """The names of the labels in a file of a prepared dataset, and of no labels if it lies in no such folder.

    The dataset is the nearest folder above the file with `manifest.csv` and a valid `dataset.json`.
    """
    for folder in Path(os.path.abspath(labels)).parents if Path(labels).is_file() else ():
        if (folder / "manifest.csv").is_file() and (folder / "dataset.json").is_file():
            with contextlib.suppress(AcregError):
                return read_info(folder / "dataset.json").labels
    return {}


def write_info(folder: Path | str, info: DatasetInfo) -> None:
    """Write ``dataset.json`` into a folder, atomically."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "dataset.json") as temporary:
        temporary.write_text(json.dumps(info.model_dump(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _cell(folder: Path, path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(folder)).as_posix()
    except ValueError:
        return Path(os.path.abspath(path)).as_posix()


def write_records(folder: Path | str, records: Sequence[Record]) -> None:
    """Write ``manifest.csv`` into a folder, atomically; paths inside the folder become relative."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    extra = [c for c in OPTIONAL_COLUMNS if any(getattr(record, c) for record in records)]
    rows = [[*COLUMNS, *extra]]
    for r in records:
        cells = {"points": _cell(folder, r.points), "group": r.group}
        row = [r.subject, _cell(folder, r.image), _cell(folder, r.labels), r.split]
        rows.append([*row, *(cells[c] for c in extra)])
    write_table(folder / "manifest.csv", rows, "\n")
