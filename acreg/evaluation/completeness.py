"""Checks whether the folder of an evaluation has the results of all its methods, with the inputs that it lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acreg.errors import AcregError

METHODS_NAME = "evaluation.json"
"""In the folder of an evaluation: the `identity` of each of its methods, complete or not, by the method's folder."""


def identity(summary: Mapping[str, Any]) -> str:
    """A digest of all that determines the results of a method: name, weights, data, pairs, settings, and `MEASURES`."""
    parts = {key: summary.get(key) for key in ("method", "registers", "preset", "dataset", "settings")}
    if "measures" in summary:  # the lists of older versions were made without it
        parts["measures"] = summary["measures"]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def has_results(folder: Path, made_from: str) -> bool:
    """Whether the folder of a method has complete results with this `identity`."""
    try:
        return identity(json.loads((folder / "summary.json").read_text(encoding="utf-8"))) == made_from
    except (OSError, ValueError, AttributeError):  # absent or damaged
        return False


def listed_methods(folder: Path) -> dict[str, str]:
    """The methods of an evaluation: folder and `identity`; empty if an older version made it.

    Raises:
        AcregError: the list is damaged.
    """
    path = folder / METHODS_NAME
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["methods"]) if path.is_file() else {}
    except (ValueError, KeyError, TypeError) as error:
        raise AcregError(
            f"{METHODS_NAME} lists the methods of an evaluation. Received: {path} ({error}). Remove the file, or run "
            "the evaluation again, with --overwrite."
        ) from error


def check_complete(folder: Path) -> None:
    """Raise `AcregError` if the folder of an evaluation lacks the results of a method, for example after a kill."""
    lacking = [name for name, made_from in listed_methods(folder).items() if not has_results(folder / name, made_from)]
    if lacking:
        raise AcregError(
            f"An evaluation is compared when all of its methods are complete. Received: {folder}, without the results "
            f"of {', '.join(lacking)}: it was interrupted, or still runs. Give the same `acreg evaluate` again, which "
            "goes on, or name the folders of the methods that are to be compared."
        )
