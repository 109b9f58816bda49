"""The fields of the text headers of MetaImage and NRRD, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acreg.errors import AcregError
from acreg.io.guards import kind
from acreg.io.guards.files import data_file

HEADER = 2**20
"""Largest size of a text header in bytes."""
NAMES = 2**16
"""Largest number of data files that a header may name."""
HUGE = 1e12
"""Coordinates beyond which ITK hangs."""
UNITS = re.compile(r"(?:.?m|.*met(?:er|re)s?|microns?|in(?:ch(?:es)?)?|f(?:oo|ee)?t|angstroms?)", re.IGNORECASE)
"""Units of length."""
MM = ("mm", "millimeter", "millimeters", "millimetre", "millimetres")


def refuse(path: Path, what: str) -> AcregError:
    """The error for an invalid header: `what` is wrong with it."""
    return AcregError(
        f"The file must be a whole {kind(path)}. Received: {path}, {what}. It is cut off, damaged or of an unusual "
        "kind: get the file again, or convert it with the program that wrote it."
    )


def numbers(path: Path, name: str, text: str, count: int | None = None) -> list[float]:
    """The finite numbers of a field, `count` of them."""
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        found = [float("nan")]
    if not all(abs(number) < HUGE for number in found) or (count is not None and len(found) != count):
        raise refuse(path, f"with {name} = {text[:60]!r}, where {count or 'finite'} numbers belong")
    return found


def whole_numbers(path: Path, name: str, text: str, count: int | None = None) -> list[int]:
    """The whole numbers of a field, `count` of them."""
    words = text.split()
    if not all(re.fullmatch(r"[+-]?\d{1,18}", word) for word in words) or len(words) != (count or len(words)):
        raise refuse(path, f"with {name} = {text[:60]!r}, where {count or ''} whole numbers belong".replace("  ", " "))
    return [int(word) for word in words]


def choice(path: Path, name: str, text: str, known: Mapping[str, Any]) -> Any:
    """The meaning of a word in a field."""
    if text.strip().lower() not in known:
        raise refuse(path, f"with {name} = {text[:60]!r}, which is none of {', '.join(sorted(known))}")
    return known[text.strip().lower()]


def check_unit(path: Path, unit: str) -> None:
    """Raise `AcregError` for a unit of length other than mm, which ITK would treat as mm."""
    unit = unit.encode("latin-1", "replace").decode("utf-8", "replace").strip().lower()  # for the sign of micrometres
    if unit not in MM and UNITS.fullmatch(unit):
        raise AcregError(
            f"Lengths in NRRD and MetaImage files are in mm. Received: {path} with the unit {unit!r}, which most "
            "programs read as mm. Give the header's lengths in mm."
        )


def listed(text: bytes) -> list[str]:
    """The names in a list of files, one per line."""
    return [line.strip() for line in text.decode("latin-1").split("\n") if line.strip()]


def numbered(header: Path, pattern: str, first: int, last: int, step: int) -> list[Path]:
    """The files of a pattern such as `slice%03d.raw`, for each number from the first to the last."""
    found = re.fullmatch(r"([^%]*)%(0?[1-9]?)[di]([^%]*)", pattern)
    if found is None or step == 0:
        raise refuse(header, f"with {pattern!r}, where a name with one %d and a step other than 0 belong")
    if (last - first) // step >= NAMES:
        raise refuse(header, f"which names more than {NAMES} files")
    before, width, after = found.groups()
    made = [f"{before}{number:{width}d}{after}" for number in range(first, last + (1 if step > 0 else -1), step)]
    return [data_file(header, name) for name in made]
