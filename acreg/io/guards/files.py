"""Checks of a file before a decoder opens it: a regular, readable file of a known format in the expected folder."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.formats import FORMATS, Format, by_suffix
from acreg.io.guards.decoding import decoding


def check_utf8(path: Path) -> None:
    """Raise `AcregError` if a path is not UTF-8: ITK would end the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise AcregError(
            f"The name of a file is text in UTF-8. Received: {str(path)!a}. Rename the file or its folder; where the "
            "console is set to another encoding, set it to UTF-8, as by LC_ALL=C.UTF-8."
        ) from error


def check_name(path: Path) -> None:
    """Raise `AcregError` if a path is not UTF-8, too long, or in a folder without permission."""
    check_utf8(path)
    try:
        path.exists()
    except OSError as error:
        name = str(path)
        short = name if len(name) <= 300 else f"{name[:140]}...{name[-140:]}"
        raise AcregError(
            f"A file must be within reach. Received: {short} ({error.strerror}). Check its name and the permissions of "
            "its folder."
        ) from error


def check_file(path: Path) -> None:
    """Raise `AcregError` unless `path` is a regular, non-empty file that may be read."""
    check_name(path)
    if not path.exists():
        raise AcregError(f"The file must exist. Received: {path}. Check its name and folder.")
    if path.is_dir():
        raise AcregError(f"A single file is needed. Received: {path}, a folder. Name one file in it.")
    if not path.is_file():  # reading a pipe or a device might never end
        raise AcregError(f"A regular file is needed. Received: {path}, a pipe, device or socket. Copy it to a file.")
    if path.stat().st_size == 0:
        raise AcregError(
            f"The file must hold an image. Received: {path}, which is empty (0 bytes). Get the file again."
        )
    if not os.access(path, os.R_OK):
        raise AcregError(f"The file must be readable. Received: {path}, permission denied. Change its permissions.")


def format_of(path: Path) -> Format | None:
    """The format of a file by its name or, if the name has no known suffix, by the mark inside; None if unknown.

    Raises:
        AcregError: the name has no known suffix, and the file cannot be read.
    """
    return by_suffix(path) or next((known for known in FORMATS if has_mark(path, known)), None)


def has_mark(path: Path, known: Format) -> bool:
    """Whether the path is a file with the mark of a format. Raises `AcregError` for a file that cannot be read."""
    if known.mark is None or not path.is_file():
        return False
    offset, mark = known.mark
    with decoding(path), path.open("rb") as file:
        return file.read(offset + len(mark))[offset:] == mark


def data_file(header: Path, name: str) -> Path:
    """The file that a header names, if it is in the folder of the header or below it.

    An untrusted file must not be able to read any other file as an image.

    Raises:
        AcregError: the name leads out of the folder, also by a link, or the file does not exist.
    """
    with contextlib.suppress(UnicodeError):  # headers are decoded byte by byte; file names are UTF-8
        name = name.encode("latin-1").decode("utf-8")
    folder, file = header.parent, header.parent / name
    if not name.isprintable() or os.path.isabs(name) or re.match(r"[A-Za-z]:|\\", name) or ".." in Path(name).parts:
        inside = False
    else:
        # A file beside the target of a linked header is also accepted, as in folders of links to a store.
        inside = any(file.resolve().is_relative_to(root) for root in (folder.resolve(), header.resolve().parent))
    if not inside:
        raise AcregError(
            f"The files of the voxels lie in the folder of their header. Received: {header}, which names {name!r}. Put "
            "the file itself (not a link) there, and its bare name into the header."
        )
    if not file.is_file():
        raise AcregError(
            f"The file of the voxels must lie where the header says. Received: {header}, which names {name}; there "
            f"is no file {file}. Put it there, or correct the name in the header."
        )
    return file
