"""The stored results of a run in rounds, from which a killed run goes on."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry import Affine, Grid, Velocity
from acreg.io import atomic_path

FOLDER = "rounds"


@dataclass(frozen=True, eq=False)
class Registered:
    """What one round found for one image.

    Args:
        affine: from the template's space to the image.
        velocity: in the template's space, before the affine map; None in a linear round.
        failure: the reason why there is no result; empty if there is one.
    """

    affine: Affine | None = None
    velocity: Velocity | None = None
    failure: str = ""


class States:
    """Results by round, each stored completely or not at all.

    Args:
        folder: folder of the run; the results are in its folder `FOLDER`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def registered(self, round_name: str, number: int) -> Registered | None:
        """The result of an image, given by its number; None if there is none yet."""
        found = self._load(self._path(round_name, number))
        if found is None:
            return None
        facts, arrays = found
        velocity = None
        if "velocity" in arrays:
            velocity = Velocity(arrays["velocity"], Grid(**facts["grid"]), facts["steps"])
        affine = Affine(arrays["affine"]) if "affine" in arrays else None
        return Registered(affine, velocity, facts["failure"])

    def keep(self, round_name: str, number: int, result: Registered) -> None:
        """Store the result of an image."""
        facts: dict[str, Any] = {"failure": result.failure}
        arrays = {} if result.affine is None else {"affine": result.affine.matrix}
        if result.velocity is not None:
            arrays["velocity"] = result.velocity.vectors
            facts |= {"grid": _facts(result.velocity.grid), "steps": result.velocity.steps}
        self._save(self._path(round_name, number), facts, arrays)

    def template(self, round_name: str) -> tuple[dict[str, Any], np.ndarray] | None:
        """The record of a round and the array of its template; None if it is not complete."""
        found = self._load(self.folder / round_name / "template.npz")
        return None if found is None else (found[0], found[1]["template"])

    def keep_template(self, round_name: str, record: dict[str, Any], array: np.ndarray) -> None:
        """Store the template of a round."""
        self._save(self.folder / round_name / "template.npz", record, {"template": array})

    def _path(self, round_name: str, number: int) -> Path:
        return self.folder / round_name / f"{number:06d}.npz"

    def _save(self, path: Path, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        stored = {**arrays, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
        with atomic_path(path) as temporary:
            np.savez(temporary, **stored)  # type: ignore[arg-type]

    def _load(self, path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            return json.loads(arrays.pop("facts").tobytes()), arrays
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise AcregError(
                f"A run goes on from the results that it stored. Received: {path}, which is damaged ({error}). Remove "
                "it: its registration is then repeated."
            ) from error


def _facts(grid: Grid) -> dict[str, Any]:
    return {name: getattr(grid, name) for name in ("shape", "spacing", "origin", "direction", "plane")}
