"""Surfaces as VTK files for 3D Slicer and ParaView."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from acreg.io import atomic_path
from acreg.shapes.surfaces import Surface


def write_vtk(
    surfaces: Sequence[Surface], path: Path, scalars: Mapping[str, Sequence[np.ndarray]] | None = None
) -> None:
    """Write surfaces into one text file in the legacy format, with scalars at the points.

    Coordinates are in LPS in mm, x first, as the first line states for 3D Slicer; 2-D surfaces have z = 0. Each
    cell has the scalar `region`, the number of its surface, starting at 1.

    Args:
        surfaces: surfaces of the same rank.
        path: the file.
        scalars: by name, for each surface one value per point `(n,)`.
    """
    rank = surfaces[0].rank
    points = np.concatenate([surface.points for surface in surfaces])[:, ::-1]
    points = np.column_stack([points, np.zeros((len(points), 3 - rank))])
    starts = np.cumsum([0, *(len(surface.points) for surface in surfaces)])
    cells = np.concatenate([surface.cells + start for surface, start in zip(surfaces, starts, strict=False)])
    if rank == 3:  # with reversed axes, the corners have the opposite orientation
        cells = cells[:, ::-1]
    regions = np.repeat(range(1, len(surfaces) + 1), [len(surface.cells) for surface in surfaces])
    kind = "POLYGONS" if rank == 3 else "LINES"
    lines = ["# vtk DataFile Version 3.0", "acreg surfaces; SPACE=LPS", "ASCII", "DATASET POLYDATA"]
    lines += [f"POINTS {len(points)} double", *(" ".join(f"{x:.6g}" for x in point) for point in points)]
    lines += [f"{kind} {len(cells)} {cells.size + len(cells)}"]
    lines += [" ".join(map(str, (rank, *cell))) for cell in cells.tolist()]
    lines += [f"CELL_DATA {len(cells)}", "SCALARS region int 1", "LOOKUP_TABLE default", *map(str, regions)]
    if scalars:
        lines.append(f"POINT_DATA {len(points)}")
    for name, values in (scalars or {}).items():
        lines += [f"SCALARS {name} double 1", "LOOKUP_TABLE default"]
        lines += [f"{value:.6g}" for value in np.concatenate(list(values))]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
