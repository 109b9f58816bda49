"""Surfaces of a subject in one HDF5 file, `region0/points`, `region0/cells` and so on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acreg.errors import AcregError
from acreg.io import atomic_path
from acreg.io.guards import check_file, decoding
from acreg.io.hdf5 import new_hdf5, read_datasets, read_values
from acreg.shapes.surfaces import Surface


def write_surfaces(surfaces: Sequence[Surface], path: Path) -> None:
    """Write the surfaces of regions, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        for number, surface in enumerate(surfaces):
            group = file.create_group(f"region{number}")
            group["points"], group["cells"] = surface.points, surface.cells


def read_surfaces(path: Path) -> list[Surface]:
    """The surfaces that `write_surfaces` wrote.

    Raises:
        AcregError: the file is incomplete or not of this kind.
    """
    check_file(path)
    surfaces = []
    with decoding(path, "surface file"):
        found = read_datasets(path)
        for number in range(len({name.split("/")[0] for name in found})):
            datasets = []
            for name, kind in (("points", "f"), ("cells", "i")):
                dataset = found.get(f"region{number}/{name}")
                if dataset is None or len(dataset.shape or ()) != 2 or not dataset.dtype[1:].startswith(kind):
                    raise AcregError(f"Each region of a surface file has {name} (n, rank). Received: {path} without.")
                datasets.append(dataset)
            points, cells = read_values(path, datasets)
            if cells.size and not 0 <= cells.min() <= cells.max() < len(points):
                raise AcregError(f"The cells of a surface are of its points. Received: {path}, where some are not.")
            surfaces.append(Surface(points, cells))
    return surfaces
