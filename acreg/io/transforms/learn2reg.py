"""The fields of the Learn2Reg challenges, in voxels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.geometry.displacement import voxel_indices
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine, Displacement
from acreg.geometry.transform import Transform
from acreg.io.atomic import atomic_path
from acreg.io.formats import NIFTI, by_suffix
from acreg.io.guards import check_file
from acreg.io.nifti.opening import read_raw


def write_learn2reg(transform: Transform, path: str | os.PathLike[str]) -> None:
    """Write a field in the format of the Learn2Reg challenges: `disp_FFFF_MMMM.nii.gz`.

    `(x, y, z, 3)` in voxels: the moving index minus the fixed index, on the fixed grid and with its affine.

    Raises:
        AcregError: the transform is 2-D.
        UsageError: the suffix is not supported.
    """
    path = Path(path)
    if by_suffix(path) is not NIFTI:
        raise UsageError(f"Learn2Reg's fields are NIfTI files. Received: {path}. Let the name end in .nii.gz.")
    if transform.fixed.rank != 3:
        raise AcregError(f"Learn2Reg's fields are 3-D. Received: fixed grid {transform.fixed.shape}.")
    indices = voxel_indices(transform.fixed.shape)
    points = transform.warp_points(transform.fixed.to_world(indices.reshape(-1, 3)), to="moving")
    field = transform.moving.to_index(points).reshape(indices.shape) - indices
    stored = field[..., ::-1].transpose(2, 1, 0, 3).astype(np.float32)
    with atomic_path(path) as temporary:
        import nibabel  # takes a tenth of a second

        nibabel.save(nibabel.Nifti1Image(stored, transform.fixed.affine()), temporary)


def read_learn2reg(path: str | os.PathLike[str], fixed: Grid, moving: Grid) -> Transform:
    """Read a field of the Learn2Reg challenges (see `write_learn2reg`).

    Raises:
        AcregError: the file is missing or damaged, or its shape is not that of the fixed grid.
    """
    path = Path(path)
    check_file(path)
    stored, _ = read_raw(path)
    if stored.shape != (*fixed.shape[::-1], 3):
        raise AcregError(
            f"A Learn2Reg field has the shape {(*fixed.shape[::-1], 3)} of its fixed image. Received: {path} of shape "
            f"{stored.shape}."
        )
    field = stored.transpose(2, 1, 0, 3)[..., ::-1].astype(np.float64)
    # moving index = fixed index + field; as maps: the displacement, then the affine map between the grids.
    return Transform(fixed, moving, (Displacement(field, fixed), Affine(moving.matrix @ np.linalg.inv(fixed.matrix))))
