"""Files of reference velocities of pairs: ``settings.json``, ``labels.json`` and ``fields/FIXED/MOVING.h5``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acreg.data.manifest import Dataset
from acreg.data.tables.pair_files import Pair
from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import Image, atomic_path
from acreg.io.documents import read_json
from acreg.io.guards import check_file, decoding
from acreg.io.hdf5 import new_hdf5, read_datasets, read_values
from acreg.names import some

FOLDER = "velocities"
"""The default folder of the velocities in the folder of a dataset."""
SETTINGS = "settings.json"
SOURCES = "labels.json"
"""The file with the digest of each subject's labels, of which the shapes and velocities were made."""


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
    """The velocity, float16, and the numbers that `write_velocity` wrote.

    Raises:
        AcregError: the file is incomplete or not of this kind.
    """
    check_file(path)
    with decoding(path, "velocity"):
        dataset = read_datasets(path).get("velocity")
        if dataset is None or not dataset.dtype[1:].startswith("f") or len(dataset.shape or ()) not in (3, 4):
            raise AcregError(f"A velocity's file has a dataset velocity (*spatial, rank). Received: {path} without it.")
        (velocity,) = read_values(path, [dataset])
        return velocity, {name: float(value) for name, value in dataset.attributes.items()}


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings with which the velocities of a folder were made.

    Raises:
        AcregError: there are no velocities.
    """
    path = folder / SETTINGS
    try:
        settings = read_json(path, "velocities' settings file")
    except AcregError as error:
        raise AcregError(
            f"A folder of velocities has a settings.json. Received: {folder}, without a readable one. Make them by "
            "`acreg data velocities`, or name the folder where they are."
        ) from error
    return settings if isinstance(settings, dict) else {}


def labels_digest(labels: Image) -> str:
    """A number that changes with a label map or its place in space."""
    place = np.round(labels.grid.matrix, 3) + 0.0  # no -0
    return hashlib.sha256(f"{labels.digest} {place.tolist()}".encode()).hexdigest()[:16]


def read_sources(folder: Path) -> dict[str, str]:
    """The digests by subject; none for a folder that an earlier version made.

    Raises:
        AcregError: the file cannot be read.
    """
    found = read_json(folder / SOURCES, "list of label maps") if (folder / SOURCES).is_file() else {}
    return {str(subject): str(digest) for subject, digest in found.items()} if isinstance(found, dict) else {}


def check_sources(folder: Path, dataset: Dataset, subjects: Iterable[str]) -> None:
    """Check that shapes and velocities were made of the labels that the dataset has now.

    Raises:
        AcregError: the labels of a subject have changed, or cannot be read.
    """
    known = read_sources(folder)
    check_digests(
        folder,
        {one: labels_digest(dataset.read_labels(dataset.record(one))) for one in subjects if one in known},
    )


def check_digests(folder: Path, found: Mapping[str, str]) -> None:
    """As `check_sources`, for labels that were read: digests by subject."""
    known = read_sources(folder)
    changed = [subject for subject, digest in found.items() if known.get(subject, digest) != digest]
    if changed:
        raise AcregError(
            f"Shapes and velocities belong to the label maps that they were made of. Received: {folder}, made before "
            f"the labels of {some(changed)} changed. Delete the folder and make them anew by `acreg data velocities`."
        )


def load_velocities(
    folder: Path, subjects: Sequence[str], stored: Grid, wanted: Grid
) -> dict[tuple[int, int], np.ndarray]:
    """The velocities in a folder for all pairs of the given subjects, float16, by positions (fixed, moving).

    Args:
        folder: folder that `acreg data velocities` wrote.
        subjects: in the order of the positions.
        stored: the grid on which the velocities were made, which is that of the dataset's files.
        wanted: the grid on which they are returned: the same voxels, possibly with another order and direction of axes.

    Raises:
        AcregError: a file is incomplete, there is no pair of these subjects, or the grids have different voxels.
    """
    places = {subject: position for position, subject in enumerate(subjects)}
    found = {}
    for fixed in subjects:
        for path in sorted((folder / "fields" / fixed).glob("*.h5")):
            if path.stem in places:
                found[places[fixed], places[path.stem]] = _reoriented(read_velocity(path)[0], stored, wanted)
    if not found:
        raise AcregError(
            f"Training on velocities needs those of its subjects. Received: {folder}, which has none of "
            f"{len(subjects)} subjects such as {subjects[0]}. Make them by `acreg data velocities`, for the same split."
        )
    return found


def _reoriented(velocity: np.ndarray, stored: Grid, wanted: Grid) -> np.ndarray:
    """A velocity `(*spatial, rank)` in voxels of one grid, for a grid with the same voxels in another order."""
    turn = np.linalg.inv(stored.matrix[:-1, :-1]) @ wanted.matrix[:-1, :-1]
    axes = np.abs(turn).argmax(axis=0)  # for each axis of `wanted`, that of `stored`
    signs = np.sign(turn[axes, range(len(axes))]).astype(velocity.dtype)
    first = stored.to_index(wanted.to_world(np.zeros(len(axes))))
    corner = np.where(np.isin(range(len(axes)), axes[signs < 0]), np.array(stored.shape) - 1, 0)
    if (
        velocity.shape[:-1] != stored.shape
        or wanted.shape != tuple(np.take(stored.shape, axes))
        or not np.allclose(turn, np.eye(len(axes))[:, axes] * signs, atol=1e-3)
        or not np.allclose(first, corner, atol=1e-2)
    ):
        raise AcregError(
            f"Velocities lie on the grid of the images, {wanted.shape}. Received: velocities of "
            f"{velocity.shape[:-1]}, made on another grid. Set data.shape to the size of the images that they were "
            "made on."
        )
    turned = velocity.transpose(*axes, len(axes))[..., axes] * signs
    return np.flip(turned, tuple(np.flatnonzero(signs < 0)))
