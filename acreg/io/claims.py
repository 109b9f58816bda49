"""Whether results may be written to a path: existing results are not replaced unasked, and a run keeps its settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from acreg.errors import AcregError, UsageError
from acreg.io.atomic import check_folder
from acreg.io.documents import read_json, write_json
from acreg.io.folders import contents
from acreg.names import some


def check_free(
    place: str | os.PathLike[str],
    names: Iterable[str] = (),
    overwrite: bool = False,
    holds: str = "",
    instead: str = "give --overwrite (in Python overwrite=True)",
) -> None:
    """Raise an error, before the work, if its results would replace others.

    Args:
        place: the file to write; with `names`, the folder of the results, which need not exist.
        names: names of the results.
        overwrite: whether existing results may be replaced.
        holds, instead: for the message; see `occupied`. By default, the names of the existing results.

    Raises:
        AcregError: there are results, or the file cannot be created.
    """
    place, names = Path(place), list(names)
    if not names:
        check_folder(place.parent)
    there = [name for name in names or [""] if (place / name).exists()]
    if there and not overwrite:
        raise occupied(place, holds or ", ".join(there), instead, new=False)


def check_empty(folder: str | os.PathLike[str], holds: str = "", instead: str = "") -> None:
    """Raise an error, before the work, unless a folder is new or empty; for results that need a separate folder.

    Args:
        folder: folder of the results.
        holds, instead: for the message; see `occupied`. By default, some of its files.

    Raises:
        UsageError: the folder is not empty.
    """
    there = sorted(path.name for path in contents(Path(folder)))
    if there:
        raise occupied(folder, holds or some(there), instead)


def occupied(place: str | os.PathLike[str], holds: str, instead: str = "", new: bool = True) -> AcregError:
    """The error for a path that holds something other than the results to be written.

    Args:
        place: a folder, or a file.
        holds: the contents of the folder; empty for a file.
        instead: an alternative to choosing another path, as an imperative.
        new: whether a new or empty folder is needed, so that the call is wrong; otherwise, results would be replaced.
    """
    found, other = (f"holds {holds}", "folder") if holds else ("exists", "name")
    return (UsageError if new else AcregError)(
        f"Results are not replaced unasked, nor mixed with other files. Received: {place}, which {found}. Choose "
        f"{'a new or empty' if new else 'another'} {other}{f', or {instead}' if instead else ''}."
    )


def claim(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Check that the file `name` in the folder of a run has these settings, or write it into a new folder.

    Args:
        folder: folder of the run; see `sole_writer`.
        name: name of a JSON file.
        settings: the settings that determine the results of the run; writing and reading JSON must not change them.

    Raises:
        UsageError, AcregError: as `check_claim`.
    """
    check_claim(folder, name, settings)
    if not (folder / name).is_file():
        write_json(folder / name, dict(settings))


def check_claim(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Raise an error if a folder, which need not exist, belongs to a run with other settings or to something else.

    Raises:
        UsageError: its file `name` has other settings, or there are other files but none with that name.
        AcregError: the file cannot be read.
    """
    path = folder / name
    if not path.is_file():
        check_empty(folder, f"other files and no {name}")
        return
    before = read_json(path, "file of a run's settings")
    if not isinstance(before, dict):
        raise AcregError(f"{name} holds the settings of a run. Received: {path}, no object. Choose another --out.")
    keys = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
    if keys:
        differing = "; ".join(f"{key} {before.get(key)!r} there and {settings.get(key)!r} here" for key in keys)
        raise UsageError(
            f"A run goes on with the settings that it began with. Received: {folder}, with {differing}. Give the "
            "first settings again, or choose another --out."
        )
