"""Displacements as NIfTI vector images in voxels, acreg's own convention."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.geometry.displacement import check_displacement
from acreg.geometry.grid import Grid
from acreg.io.atomic import atomic_path
from acreg.io.formats import NIFTI, by_suffix
from acreg.io.guards import check_file
from acreg.io.nifti.format import save_nifti
from acreg.io.nifti.opening import DISPLACEMENT_MARK, read_raw


def write_displacement(displacement: np.ndarray, grid: Grid, path: str | os.PathLike[str]) -> None:
    """Write a displacement as a NIfTI vector image.

    The file has five axes, (x, y, z, 1, rank), with z of size 1 in 2-D, and the geometry of the fixed grid. Its vectors
    follow acreg's convention: they are in voxels of the fixed grid, with components in the order of acreg's axes,
    (rows, columns) or (z, y, x), which is the reverse order of the axes in the file. The field `descrip` of the header
    says so. The vectors are not in mm, so other programs must not apply the file directly.

    Args:
        displacement: `(*spatial, rank)`, voxels.
        grid: the fixed grid, of shape `spatial`.
        path: ends in .nii or .nii.gz.

    Raises:
        AcregError: shapes do not fit.
        UsageError: the suffix is not supported.
        OSError: the disk is full, or writing is not permitted.
    """
    path = Path(path)
    displacement = np.asarray(displacement, dtype=np.float32)
    rank = check_displacement(displacement)
    if by_suffix(path) is not NIFTI:
        raise UsageError(f"A displacement is written as NIfTI. Received: {path}. Let the name end in .nii.gz.")
    if displacement.shape[:-1] != grid.shape:
        raise AcregError(
            f"A displacement has the shape of its grid. Received: {displacement.shape[:-1]}, grid {grid.shape}."
        )
    axes = "rows,columns" if rank == 2 else "z,y,x"
    stored = displacement.transpose(*range(rank)[::-1], rank)
    stored = stored.reshape(stored.shape[:rank] + (1,) * (4 - rank) + (rank,))
    with atomic_path(path) as temporary:
        save_nifti(
            stored,
            grid,
            temporary,
            description=f"{DISPLACEMENT_MARK}: voxels of the fixed grid, array-axis order ({axes})",
            intent="vector",
        )


def read_displacement(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a displacement that `write_displacement` wrote.

    Returns:
        float32 `(*spatial, rank)`, voxels of the fixed grid, component `d` along array axis `d`.

    Raises:
        AcregError: the file is missing, truncated, holds vectors that are not finite, or was not written as an acreg
            displacement (the fields of other programs are in mm and have other axes).
    """
    path = Path(path)
    check_file(path)
    if by_suffix(path) is not NIFTI:
        raise AcregError(f"A displacement is a NIfTI file. Received: {path}. Give acreg's displacement.nii.gz.")
    stored, description = read_raw(path)
    rank = stored.shape[-1] if stored.ndim == 5 else 0
    if not description.startswith(DISPLACEMENT_MARK) or rank not in (2, 3) or stored.shape[rank:4] != (1,) * (4 - rank):
        raise AcregError(
            "A displacement file is a NIfTI that acreg wrote, in voxels and array-axis order. Received: "
            f"{path} of shape {stored.shape}, described as {description!r}. "
            "Give acreg's displacement.nii.gz."
        )
    field = stored.reshape(stored.shape[:rank] + (rank,)).transpose(*range(rank)[::-1], rank)
    with np.errstate(over="ignore"):
        field = np.ascontiguousarray(field, dtype=np.float32)
    if not np.isfinite(field).all():
        raise AcregError(f"The vectors of a displacement are finite. Received: {path}, where some are not.")
    return field
