"""Which subjects have a disease, by their names or by a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from acreg.errors import AcregError, UsageError
from acreg.io.csv_tables import read_table
from acreg.io.documents import read_text
from acreg.names import some

YES, NO = ("1", "true", "yes"), ("0", "false", "no")
NIH = ("Image Index", "Finding Labels")
"""Columns of ChestX-ray14's ``Data_Entry_2017.csv``; findings are separated by ``|``."""


def flags_by_name(subjects: Sequence[str], pattern: str) -> dict[str, bool]:
    """For each subject, whether its name matches the pattern, such as ``MCUCXR_*_1``.

    Raises:
        UsageError: all names match, or none does.
    """
    flags = {subject: fnmatchcase(subject, pattern) for subject in subjects}
    if len(set(flags.values())) != 2:
        raise UsageError(
            "A pattern tells subjects with the disease from those without: * is any text, ? any character. Received: "
            f"{pattern!r}, which {'all' if any(flags.values()) else 'none'} of {len(subjects)} names match, such as "
            f"{some(subjects, 2)}. Correct it."
        )
    return flags


def read_flags(path: Path | str, subjects: Sequence[str], finding: str = "") -> dict[str, bool]:
    """For each subject in a CSV file, whether it has the disease.

    Args:
        path: a file with the columns ``subject`` and ``diseased`` (1 or 0, true or false, yes or no), or ``Image
            Index`` and ``Finding Labels``, the list of the NIH's ChestX-ray14, where a subject is the name of an image
            with or without its suffix.
        subjects: those of the dataset; others in the CSV file are ignored.
        finding: the disease, for the NIH's list.

    Raises:
        UsageError: a finding is required but not given, or no subject has it.
        AcregError: the file has other columns, a cell that is neither yes nor no, a subject twice, or no subject of the
            dataset.
    """
    path = Path(path)
    try:
        table = read_table(io.StringIO(read_text(path, "list of the diseased"), newline=""))
        columns, *cells = table or [[]]
        rows = [dict(zip(columns, row + [""] * len(columns), strict=False)) for row in cells if row]
    except (AcregError, csv.Error) as error:
        raise AcregError(
            f"The list of the diseased is a CSV. Received: {path} ({error}). Correct the path or the file."
        ) from error
    nih = set(NIH) <= set(columns)
    if not nih and not {"subject", "diseased"} <= set(columns):
        raise AcregError(
            f"The list of the diseased has the columns subject and diseased, or {' and '.join(NIH)}. Received: {path} "
            f"with {', '.join(columns) or 'none'}. Rename its columns."
        )
    if nih:
        known = sorted({word for row in rows for word in (row[NIH[1]] or "").split("|")})
        if finding not in known:
            raise UsageError(
                f"Of ChestX-ray14's findings one is chosen. Received: {finding or 'none'}. Choose with --finding from "
                f"{', '.join(known)}."
            )
    wanted, flags = set(subjects), dict[str, bool]()
    for row in rows:
        cell = (row[NIH[0]] if nih else row["subject"]) or ""
        subject = cell.strip() if cell.strip() in wanted else Path(cell.strip()).stem
        if subject not in wanted:
            continue
        word = "" if nih else (row["diseased"] or "").strip().lower()
        if subject in flags or not (nih or word in YES + NO):
            found = f"{subject} twice" if subject in flags else f"{word!r} for {subject}"
            raise AcregError(
                "The list of the diseased says 1 or 0 (true or false, yes or no) of each subject, once. Received: "
                f"{found} in {path}. Correct the line."
            )
        flags[subject] = finding in (row[NIH[1]] or "").split("|") if nih else word in YES
    if not flags:
        raise AcregError(
            f"The list of the diseased has subjects of the dataset. Received: {path}, which has none of its "
            f"{len(subjects)}, such as {some(subjects, 2)}. Use the dataset's names."
        )
    return flags
