"""Whether results may be written to a place: others are not replaced unasked, and a run goes on as it began."""

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
    """Raise before the work if its results would replace others.

    Args:
        place: the file to be written; with `names` the folder of the results, which need not exist.
        names: of the results.
        overwrite: whether results that are there may be replaced.
        holds, instead: for the message; see `occupied`. The names that are there if left out.

    Raises:
        AcregError: results are there, or the file cannot be made.
    """
    place, names = Path(place), list(names)
    if not names:
        check_folder(place.parent)
    there = [name for name in names or [""] if (place / name).exists()]
    if there and not overwrite:
        raise occupied(place, holds or ", ".join(there), instead, new=False)


def check_empty(folder: str | os.PathLike[str], holds: str = "", instead: str = "") -> None:
    """Raise before the work if a folder whose results need one of their own is neither new nor empty.

    Args:
        folder: of the results.
        holds, instead: for the message; see `occupied`. Some of its files if left out.

    Raises:
        UsageError: it holds something.
    """
    there = sorted(path.name for path in contents(Path(folder)))
    if there:
        raise occupied(folder, holds or some(there), instead)


def occupied(place: str | os.PathLike[str], holds: str, instead: str = "", new: bool = True) -> AcregError:
    """The error of a place that holds something else than the results to be written.

    Args:
        place: a folder, or a file.
        holds: what the folder holds; empty for a file.
        instead: what can be done besides choosing another place, as an imperative.
        new: whether a new or empty folder is needed, and the call is wrong; else results would be replaced.
    """
    found, other = (f"holds {holds}", "folder") if holds else ("exists", "name")
    return (UsageError if new else AcregError)(
        f"Results are not replaced unasked, nor mixed with other files. Received: {place}, which {found}. Choose "
        f"{'a new or empty' if new else 'another'} {other}{f', or {instead}' if instead else ''}."
    )


def claim(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Find a folder to be that of a run with these settings, as its file `name` says, or write that into a new one.

    Args:
        folder: of the run; see `sole_writer`.
        name: of a JSON file.
        settings: that decide the run's results; of them JSON must give back what it gets.

    Raises:
        UsageError, AcregError: as `check_claim`.
    """
    check_claim(folder, name, settings)
    if not (folder / name).is_file():
        write_json(folder / name, dict(settings))


def check_claim(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Raise if a folder, which need not exist, is that of a run with other settings, or of something else.

    Raises:
        UsageError: its file `name` has other settings, or there are other files and none of that name.
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
