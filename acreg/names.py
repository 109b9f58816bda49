"""Names from data, such as those of subjects, labels and methods, made safe for file names, messages and terminals."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 200
"""Largest number of bytes of a name; most file systems allow 255 in a file name, and suffixes follow."""
PART = 100
"""Largest number of bytes of one of the two names of a pair."""
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names of devices in Windows, reserved with any suffix."""
NOT_IN_FILES = set('/\\<>:"|?*')
SUBJECT_RULE = (
    f"A subject's name becomes the name of files: at most {LONGEST} bytes, no slashes or control characters, none of "
    '<>:"|?*, no dot at its ends, no name of a device (con, nul)'
)
"""The rule of `is_file_name`, for messages."""


def is_file_name(name: str) -> bool:
    """Whether a name is a valid file name on every system that acreg runs on."""
    return (
        0 < len(name.encode("utf-8", "surrogatepass")) <= LONGEST
        and name.isprintable()
        and not set(name) & NOT_IN_FILES
        and not name.startswith(".")
        and not name.endswith((".", " "))
        and not RESERVED.fullmatch(name)
    )


def folded(name: str) -> str:
    """A form that is equal for names of the same file on some system: case and accent encoding are ignored."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def safe_name(name: str) -> str:
    """`name` as a file name: all but letters, digits, `.`, `_`, `-`, `+` become `_`; a long name ends in a digest."""
    kept = re.sub(r"[^\w.+-]", "_", name).lstrip(".").rstrip(".") or "_"
    if RESERVED.fullmatch(kept):
        kept = f"_{kept}"
    if len(kept.encode("utf-8", "replace")) > PART:
        cut = kept.encode("utf-8", "replace")[: PART - 9].decode("utf-8", "ignore")
        kept = f"{cut}-{_digest(name)}"
    return kept


def pair_folder(fixed: str, moving: str) -> str:
    """The name of the folder of a pair's files, `<fixed>__<moving>`, unique for each pair.

    A digest is appended if the names had to be changed, or if two pairs could otherwise have the same folder name.
    """
    kept = "__".join(safe_name(name) for name in (fixed, moving))
    plain = kept == f"{fixed}__{moving}" and kept.count("__") == 1 and not fixed.endswith("_")
    return kept if plain and not moving.startswith("_") else f"{kept}-{_digest(f'{fixed}/{moving}')}"


def printable(text: str) -> str:
    """`text` for a terminal: control characters, which could move the cursor or change colours, are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" or unicodedata.category(c) == "Zs" else _escape(c) for c in text)


def one_line(text: str) -> str:
    """A text from data, such as a name, on one line and without control characters."""
    return printable(" ".join(text.split()))


def some(items: Iterable[object], limit: int = 5) -> str:
    """The first few names, for a message, and the number of the remaining ones."""
    names = [str(item) for item in items]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
