"""Reading of transforms from ITK files and from displacement fields in NIfTI."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Displacement
from acreg.geometry.transform import Transform
from acreg.io.formats import NIFTI, by_suffix
from acreg.io.guards import check_file, decoding
from acreg.io.nifti.displacement import read_displacement
from acreg.io.nifti.opening import DISPLACEMENT_MARK, nifti_values, open_nifti
from acreg.io.nifti.place import nifti_affine
from acreg.io.transforms.parts import read_parts

DISPLACEMENT, VECTOR = 1006, 1007
"""NIfTI's codes of intent for displacement fields."""


def read_transform(path: str | os.PathLike[str], fixed: Grid, moving: Grid) -> Transform:
    """Read a transform that maps points of the fixed image to the moving one.

    A list of transforms in ANTs (`-t 1Warp.nii.gz -t 0GenericAffine.mat`) is, in that order, the composition
    `read_transform(warp, fixed, fixed).compose(read_transform(affine, fixed, moving))`.

    Args:
        path: an ITK transform (`.h5`, `.tfm`, `.txt`, ANTs' `0GenericAffine.mat`), a displacement field in mm
            (`.nii`, `.nii.gz` with vector intent: ANTs' `1Warp.nii.gz`), or a field in voxels that `write_displacement`
            wrote, recognised by its header. Fields have the grids of their headers, not `fixed`.
        fixed, moving: the grids of the two images.

    Raises:
        AcregError: the file is missing or damaged, of another number of axes, of a kind that is neither linear nor a
            displacement field, or it holds several transforms that are not one composite.
        UsageError: the suffix is not supported.
    """
    path = Path(path)
    check_file(path)
    with decoding(path, "transform"):
        maps = (_read_field(path),) if by_suffix(path) is NIFTI else tuple(part.map for part in read_parts(path))
    rank = next((part.rank for part in maps), fixed.rank)
    if rank != fixed.rank:
        raise AcregError(
            f"The transform has the images' number of axes. Received: {path} with {rank}, images with {fixed.rank}."
        )
    return Transform(fixed, moving, maps)


def _read_field(path: Path) -> Displacement:
    """Read a displacement field in NIfTI, by nibabel, because ITK fills a truncated file with zeros."""
    image = open_nifti(path)
    if bytes(image.header["descrip"]).startswith(DISPLACEMENT_MARK.encode()):
        vectors = read_displacement(path)
        return Displacement(vectors, Grid.from_affine(nifti_affine(image, path), vectors.shape[:-1]))
    intent = int(image.header["intent_code"])
    if intent not in (VECTOR, DISPLACEMENT):
        raise AcregError(
            "A displacement field is a NIfTI of vectors (intent 1006 or 1007). Received: "
            f"{path} with intent {intent}. Is it an image? A field of Learn2Reg "
            "is read by acreg.io.transforms.read_learn2reg and made into one of these by write_transform."
        )
    if int(image.header["xyzt_units"]) % 8 in (1, 3):
        raise AcregError(
            f"A displacement field in NIfTI is in mm. Received: {path}, whose header has metres or micrometres as its "
            "unit: ITK takes them for the grid and not for the vectors. Write grid and vectors in mm."
        )
    stored = nifti_values(image, path)
    rank = stored.shape[-1]
    if stored.ndim != 5 or rank not in (2, 3) or stored.shape[rank:4] != (1,) * (4 - rank):
        raise AcregError(
            "A displacement field in NIfTI has the shape (x, y, z, 1, 3) or, in 2-D, (x, y, 1, 1, 2). Received: "
            f"{path} of shape {stored.shape}."
        )
    mm = stored.reshape(*stored.shape[:rank], rank)
    if intent == DISPLACEMENT:  # by the standard along RAS, and so read by ITK; a plain vector is along LPS
        mm = mm * np.array([-1, -1, 1], mm.dtype)[:rank]
    grid = Grid.from_affine(nifti_affine(image, path), mm.shape[:rank][::-1])
    mm = mm.transpose(*reversed(range(rank)), rank)[..., ::-1]
    return Displacement(mm @ np.linalg.inv(grid.matrix[:-1, :-1]).T, grid)
