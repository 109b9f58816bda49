"""Reference velocities of pairs, on disk: ``settings.json`` and ``fields/FIXED/MOVING.h5``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acreg.data.pair_files import Pair
from acreg.errors import AcregError
from acreg.io import atomic_path
from acreg.io.files import check_file, check_size, decoding
from acreg.io.hdf5 import new_hdf5

FOLDER = "velocities"
"""Where a dataset's velocities are, in its folder, unless another place is named."""


def velocity_path(folder: Path, pair: Pair) -> Path:
    """The file of a pair (fixed, moving)."""
    return folder / "fields" / pair[0] / f"{pair[1]}.h5"


def write_velocity(path: Path, velocity: np.ndarray, numbers: Mapping[str, float]) -> None:
    """Write a velocity `(*spatial, rank)`, voxels of the fixed image, as float16, and numbers on it as attributes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        dataset = file.create_dataset("velocity", data=velocity.astype(np.float16), compression="gzip", shuffle=True)
        for name, value in numbers.items():
            dataset.attrs[name] = value


def read_velocity(path: Path) -> tuple[np.ndarray, dict[str, float]]:
    """What `write_velocity` wrote: the velocity, float16, and the numbers.

    Raises:
        AcregError: no whole file of that kind.
    """
    import h5py

    check_file(path)
    with decoding(path, "velocity"), h5py.File(path, "r") as file:
        dataset = file.get("velocity")
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f" or dataset.ndim not in (3, 4):
            raise AcregError(f"A velocity's file has a dataset velocity (*spatial, rank). Received: {path} without it.")
        if dataset.is_virtual or dataset.external:
            raise AcregError(f"A velocity lies in the file itself. Received: {path}, which points to other files.")
        check_size(path, dataset.shape, dataset.dtype.itemsize, dataset.id.get_storage_size())
        return np.asarray(dataset[()]), {name: float(value) for name, value in dataset.attrs.items()}


def read_settings(folder: Path) -> dict[str, Any]:
    """How the velocities of a folder were made.

    Raises:
        AcregError: there are none.
    """
    path = folder / "settings.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AcregError(
            f"A folder of velocities has a settings.json. Received: {folder}, without a readable one. Make them by "
            "`acreg data velocities`, or name the folder where they are."
        ) from error
    return settings if isinstance(settings, dict) else {}


def load_velocities(folder: Path, subjects: Sequence[str]) -> dict[tuple[int, int], np.ndarray]:
    """The velocities of all pairs of some subjects that a folder has, float16, by positions (fixed, moving).

    Raises:
        AcregError: a file that is not whole, or no pair of these subjects.
    """
    places = {subject: position for position, subject in enumerate(subjects)}
    found = {}
    for fixed in subjects:
        for path in sorted((folder / "fields" / fixed).glob("*.h5")):
            if path.stem in places:
                found[places[fixed], places[path.stem]] = read_velocity(path)[0]
    if not found:
        raise AcregError(
            f"Training on velocities needs those of its subjects. Received: {folder}, which has none of "
            f"{len(subjects)} subjects such as {subjects[0]}. Make them by `acreg data velocities`, for the same split."
        )
    return found
