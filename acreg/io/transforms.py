"""Transforms in files that other programs open.

ITK's composite transforms (`.h5`, `.tfm`), affine transforms (`.mat`) and displacement fields (`.nii.gz` with vector
intent, mm, LPS) for 3D Slicer and ANTs, which reads all of them, and the fields of the Learn2Reg challenges (voxels).
ITK-SNAP reads affine transforms alone. ITK's transforms take a point of the fixed image to the moving one, as acreg's
do; its axes and vectors are acreg's in reverse order.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import nibabel
import numpy as np
import SimpleITK as sitk

from acreg.errors import AcregError, UsageError
from acreg.geometry import Image
from acreg.geometry.displacement import voxel_indices
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine, Displacement
from acreg.geometry.transform import Border, Transform
from acreg.io.atomic import atomic_path, not_whole
from acreg.io.files import NIFTI, check_file, decoding, suffix
from acreg.io.hdf5 import new_hdf5
from acreg.io.image import DISPLACEMENT_MARK, read_displacement
from acreg.io.itk import affine_to_itk, to_itk, whole_field
from acreg.io.nifti import load_nifti_raw, nifti_affine, nifti_values, open_nifti
from acreg.io.transform_check import TOLERANCE, TOLERANCE_VOXELS, compare_with_itk, round_trip
from acreg.io.transform_files import read_parts

COMPOSITE = (".h5", ".tfm")
AFFINE = (".mat",)
LARGEST_RESIDUAL = 1.0
"""Voxels by which an inverse that is written misses its transform at most where it was solved for."""
EXACT = 0.05
"""Voxels up to which nothing is said of it."""
DISPLACEMENT, VECTOR = 1006, 1007
"""NIfTI's codes of intent for displacement fields."""


def write_transform(
    transform: Transform,
    path: str | os.PathLike[str],
    image: Image | None = None,
    border: Border = "constant",
    fill: float = 0.0,
    errors: Mapping[str, float] | None = None,
) -> float:
    """Write a transform, read it back with SimpleITK, and compare what it does to an image with what ours does.

    `.h5` and `.tfm` hold the maps one by one (a velocity as its displacement); `.mat` holds affine maps alone, as one;
    `.nii` and `.nii.gz` hold all maps as one displacement field in mm on the fixed grid, beyond which nothing moves.
    The result of the comparison is written beside the file, as `<name>.check.json`.

    Fields are stored as float32, which is what maps are made of; `.tfm` is text.

    Args:
        transform: what to write.
        path: where.
        image: a moving image to compare on; a smooth pattern on the moving grid if left out.
        border, fill: what lies outside of it, see `Transform.warp_image`.
        errors: what else is recorded; see `write_inverse`.

    Returns:
        The largest difference of the two warped images over all voxels that SimpleITK has a rule for, relative to the
        image's intensity range: see `acreg.io.transform_check.compare_with_itk`.

    Raises:
        AcregError: the difference exceeds 1e-3, or the distance of mapped points 0.01 voxels (the file is removed); the
            format cannot hold the transform.
        UsageError: another suffix.
        OSError: the disk is full, or writing is not permitted.
    """
    path = Path(path)
    kind = suffix(path)
    if kind not in COMPOSITE + AFFINE + NIFTI:
        raise UsageError(
            f"Transforms are written as {', '.join(COMPOSITE + AFFINE + NIFTI)}. Received: {path}. Choose one of them."
        )
    with atomic_path(path) as temporary:
        if kind in NIFTI:
            _check_nifti(transform, path)
        try:
            back = _written(transform, temporary, path)
            check = compare_with_itk(transform, back, image, border, fill)
        except RuntimeError as error:  # ITK's; it does not always report a full disk, and then cannot use the file
            raise not_whole(path) from error
        difference, distance = check["largest_difference"], check["largest_distance_voxels"]
        if not (difference <= TOLERANCE and distance <= TOLERANCE_VOXELS):
            raise AcregError(
                "A transform that is written does in SimpleITK what it does here. Received: "
                f"{path}, with which the warped image differs by {difference:.2g} of its intensity range and points by "
                f"{distance:.2g} voxels. The file was not kept. NIfTI holds no sheared grid: write .h5. Where the "
                "extent of a field ends at centres of fixed voxels, rounding decides in ITK about the last: write "
                ".nii.gz."
            )
    check |= errors or {}
    with atomic_path(path.with_name(path.name + ".check.json")) as temporary:
        temporary.write_text(json.dumps(check, indent=2) + "\n", encoding="utf-8")
    return difference


def write_inverse(
    transform: Transform,
    path: str | os.PathLike[str],
    image: Image | None = None,
    border: Border = "constant",
    fill: float = 0.0,
) -> str:
    """Write the transform that pulls fixed images onto the moving grid, as `write_transform` does.

    It is `Transform.sampled_inverse`. Its check file has `folded_percent` of the transform, `residual_voxels`, and the
    mean and largest distance in mm between a fixed voxel and where it comes back to.

    Args:
        transform: whose inverse is written.
        path, border, fill: as in `write_transform`.
        image: a fixed image to compare on.

    Returns:
        What makes the inverse an approximation; empty if nothing does.

    Raises:
        AcregError: the transform has no inverse, because it tears; else as `write_transform`.
        OSError: as `write_transform`.
    """
    inverse, folded = transform.sampled_inverse(), 0.0
    if not inverse.residual <= LARGEST_RESIDUAL:
        raise AcregError(
            "An inverse is found by iteration, which needs a field that is not torn. Received: a transform whose "
            f"inverse would miss by {inverse.residual:.2g} voxels. For an inverse take a method that deforms less."
        )
    if not all(isinstance(part, Affine) for part in transform.maps):
        back = transform.affine_part.inverse()  # so that one that mirrors does not count as folded
        folded = dataclasses.replace(transform, maps=(*transform.maps, back)).folding()["folded_percent"]
    errors = {"folded_percent": folded, "residual_voxels": inverse.residual, **round_trip(transform, inverse)}
    write_transform(inverse, path, image, border, fill, errors)
    said = f"the transform folds in {folded:.2g} % of the voxels, where it has several" if folded > 0 else ""
    missed = f"it misses by up to {inverse.residual:.2g} voxels" if inverse.residual > EXACT else ""
    return "; ".join(part for part in (said, missed) if part)


def read_transform(path: str | os.PathLike[str], fixed: Grid, moving: Grid) -> Transform:
    """Read a transform that maps points of the fixed image to the moving one.

    ANTs' list of transforms (`-t 1Warp.nii.gz -t 0GenericAffine.mat`) is, in that order, a composition:
    `read_transform(warp, fixed, fixed).compose(read_transform(affine, fixed, moving))`.

    Args:
        path: an ITK transform (`.h5`, `.tfm`, `.txt`, ANTs' `0GenericAffine.mat`), a displacement field in mm
            (`.nii`, `.nii.gz` with vector intent: ANTs' `1Warp.nii.gz`), or a field in voxels that `write_displacement`
            wrote, whose header says so. Fields lie where their headers say, not on `fixed`.
        fixed, moving: the grids of the two images.

    Raises:
        AcregError: the file is missing or damaged, of another number of axes, of a kind that is neither linear nor a
            displacement field, or it holds several transforms that are not one composite.
        UsageError: another suffix.
    """
    path = Path(path)
    check_file(path)
    with decoding(path, "transform"):
        maps = (_read_field(path),) if suffix(path) in NIFTI else tuple(part.map for part in read_parts(path))
    rank = next((part.rank for part in maps), fixed.rank)
    if rank != fixed.rank:
        raise AcregError(
            f"The transform has the images' number of axes. Received: {path} with {rank}, images with {fixed.rank}."
        )
    return Transform(fixed, moving, maps)


def write_learn2reg(transform: Transform, path: str | os.PathLike[str]) -> None:
    """Write a field as the Learn2Reg challenges want it: `disp_FFFF_MMMM.nii.gz`.

    `(x, y, z, 3)` in voxels: the moving index minus the fixed index, on the fixed grid and with its affine.

    Raises:
        AcregError: the transform is 2-D.
        UsageError: another suffix.
    """
    path = Path(path)
    if suffix(path) not in NIFTI:
        raise UsageError(f"Learn2Reg's fields are NIfTI files. Received: {path}. Let the name end in .nii.gz.")
    if transform.fixed.rank != 3:
        raise AcregError(f"Learn2Reg's fields are 3-D. Received: fixed grid {transform.fixed.shape}.")
    indices = voxel_indices(transform.fixed.shape)
    points = transform.warp_points(transform.fixed.to_world(indices.reshape(-1, 3)), to="moving")
    field = transform.moving.to_index(points).reshape(indices.shape) - indices
    stored = field[..., ::-1].transpose(2, 1, 0, 3).astype(np.float32)
    with atomic_path(path) as temporary:
        nibabel.save(nibabel.Nifti1Image(stored, transform.fixed.affine()), temporary)


def read_learn2reg(path: str | os.PathLike[str], fixed: Grid, moving: Grid) -> Transform:
    """Read a field of the Learn2Reg challenges (see `write_learn2reg`).

    Raises:
        AcregError: the file is missing or damaged, or its shape is not that of the fixed grid.
    """
    path = Path(path)
    check_file(path)
    stored, _ = load_nifti_raw(path)
    if stored.shape != (*fixed.shape[::-1], 3):
        raise AcregError(
            f"A Learn2Reg field has the shape {(*fixed.shape[::-1], 3)} of its fixed image. Received: {path} of shape "
            f"{stored.shape}."
        )
    field = stored.transpose(2, 1, 0, 3)[..., ::-1].astype(np.float64)
    # moving index = fixed index + field; as maps: the displacement, then the affine from grid to grid.
    return Transform(fixed, moving, (Displacement(field, fixed), Affine(moving.matrix @ np.linalg.inv(fixed.matrix))))


def _check_nifti(transform: Transform, path: Path) -> None:
    """Raise `AcregError` where ITK would read another field than the one that is in the file."""
    if transform.fixed.shape[0] == 1:
        raise AcregError(
            "ITK reads a NIfTI whose last axis has a single voxel as an image with an axis less. Received: "
            f"{path} for a fixed grid {transform.fixed.shape}. Write .h5 or .tfm."
        )
    beside = path.with_suffix("") if suffix(path) == ".nii.gz" else path.with_name(path.name + ".gz")
    if beside.exists():
        raise AcregError(
            f"ITK takes the data of a .nii.gz from a .nii of the same name beside it. Received: {path}, beside "
            f"{beside}. Choose another name, or remove that file first."
        )


def _written(transform: Transform, temporary: Path, path: Path) -> sitk.Transform:
    """What SimpleITK reads after the transform was written at `temporary`, on the way to `path`."""
    if suffix(path) in NIFTI:
        sitk.WriteImage(whole_field(transform), str(temporary))
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(temporary), sitk.sitkVectorFloat64))
    fields = sum(part.vectors.size for part in transform.maps if not isinstance(part, Affine))
    if suffix(path) in AFFINE:
        if fields:
            raise AcregError(
                f"A .mat file holds affine maps alone. Received: {path} for a transform with a displacement. Write .h5 "
                "or .nii.gz."
            )
        sitk.WriteTransform(affine_to_itk(transform.affine_part), str(temporary))
    elif suffix(path) == ".h5":
        _write_hdf5(to_itk(transform), temporary)
    else:
        sitk.WriteTransform(to_itk(transform), str(temporary))
    return sitk.ReadTransform(str(temporary))


def _write_hdf5(composite: sitk.CompositeTransform, path: Path) -> None:
    """Write an `.h5` as ITK does, but vectors in float32, which ITK reads, too.

    ITK's own writer stops the process on a full disk. What places a field (its fixed parameters) and affine maps are
    float64.
    """
    rank, text = composite.GetDimension(), h5py.string_dtype("ascii")
    with new_hdf5(path) as file:
        versions = {"ITKVersion": sitk.Version.ITKVersionString(), "HDFVersion": h5py.version.hdf5_version}
        for name, value in versions.items():
            file.create_dataset(name, data=[value], dtype=text)
        parts = [composite.GetNthTransform(n).Downcast() for n in range(composite.GetNumberOfTransforms())]
        for number, part in enumerate([composite, *parts]):
            group = file.create_group(f"TransformGroup/{number}")
            group.create_dataset("TransformType", data=[f"{part.GetName()}_double_{rank}_{rank}"], dtype=text)
            if number == 0:  # the composite: its parts follow
                continue
            group["TransformFixedParameters"] = np.array(part.GetFixedParameters())
            if isinstance(part, sitk.DisplacementFieldTransform):
                vectors = sitk.GetArrayViewFromImage(part.GetDisplacementField())
                group["TransformParameters"] = vectors.reshape(-1).astype(np.float32)
            else:
                group["TransformParameters"] = np.array(part.GetParameters())


def _read_field(path: Path) -> Displacement:
    """A displacement field in NIfTI. By nibabel, because ITK fills up a file that is cut off with zeros."""
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
