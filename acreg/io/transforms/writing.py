"""Writing of transforms as ITK files or displacement fields, which are read back and compared with the original."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import SimpleITK as sitk

from acreg.errors import AcregError, UsageError
from acreg.geometry import Image
from acreg.geometry.maps import Affine
from acreg.geometry.transform import Border, Transform
from acreg.io.atomic import atomic_path, not_whole
from acreg.io.formats import NIFTI, by_suffix, suffix
from acreg.io.hdf5 import new_hdf5
from acreg.io.transforms.check import TOLERANCE, TOLERANCE_VOXELS, compare_with_itk, round_trip
from acreg.io.transforms.itk import affine_to_itk, to_itk, whole_field

COMPOSITE = (".h5", ".tfm")
AFFINE = (".mat",)
WRITTEN = COMPOSITE + AFFINE + NIFTI.written
LARGEST_RESIDUAL = 1.0
"""Largest error in voxels of an inverse that is written, at the voxels where it was computed."""
EXACT = 0.05
"""Largest error in voxels of an inverse that is not reported as an approximation."""


def write_transform(
    transform: Transform,
    path: str | os.PathLike[str],
    image: Image | None = None,
    border: Border = "constant",
    fill: float = 0.0,
    errors: Mapping[str, float] | None = None,
) -> float:
    """Write a transform, read it back with SimpleITK, and compare the two by warping an image.

    `.h5` and `.tfm` hold the maps one by one (a velocity as its displacement). `.mat` holds only affine maps, composed
    into one. `.nii` and `.nii.gz` hold all maps as one displacement field in mm on the fixed grid, outside of which it
    is zero. The result of the comparison is written beside the file, as `<name>.check.json`.

    Fields are stored as float32, the type of the maps; `.tfm` is text.

    Args:
        transform: the transform to write.
        path: the file to write.
        image: a moving image for the comparison; a smooth pattern on the moving grid if left out.
        border, fill: the values outside the image, see `Transform.warp_image`.
        errors: further numbers to record; see `write_inverse`.

    Returns:
        The largest difference of the two warped images over all voxels for which SimpleITK defines a value, relative to
        the intensity range of the image: see `acreg.io.transforms.check.compare_with_itk`.

    Raises:
        AcregError: the difference exceeds 1e-3 or the distance of mapped points 0.01 voxels (the file is then removed),
            or the format cannot hold the transform.
        UsageError: the suffix is not supported.
        OSError: the disk is full, or writing is not permitted.
    """
    path = Path(path)
    if suffix(path) not in WRITTEN:
        raise UsageError(f"Transforms are written as {', '.join(WRITTEN)}. Received: {path}. Choose one of them.")
    with atomic_path(path) as temporary:
        if by_suffix(path) is NIFTI:
            _check_nifti(transform, path)
        try:
            back = _written(transform, temporary, path)
            check = compare_with_itk(transform, back, image, border, fill)
        except RuntimeError as error:  # ITK's writer does not always report a full disk; the file is then unusable
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
    """Write the transform that warps fixed images onto the moving grid, as `write_transform` does.

    It is `Transform.sampled_inverse`. Its check file has `folded_percent` of the transform, `residual_voxels`, and the
    mean and largest round-trip error of a fixed voxel in mm.

    Args:
        transform: the transform whose inverse is written.
        path, border, fill: as in `write_transform`.
        image: a fixed image for the comparison.

    Returns:
        The reason why the inverse is an approximation; empty if it is not.

    Raises:
        AcregError: the transform has no inverse, because it is discontinuous; otherwise as `write_transform`.
        OSError: as `write_transform`.
    """
    inverse, folded = transform.sampled_inverse(), 0.0
    if not inverse.residual <= LARGEST_RESIDUAL:
        raise AcregError(
            "An inverse is found by iteration, which needs a field that is not torn. Received: a transform whose "
            f"inverse would miss by {inverse.residual:.2g} voxels. For an inverse take a method that deforms less."
        )
    if not all(isinstance(part, Affine) for part in transform.maps):
        back = transform.affine_part.inverse()  # so that a mirroring transform does not count as folded
        folded = dataclasses.replace(transform, maps=(*transform.maps, back)).folding()["folded_percent"]
    errors = {"folded_percent": folded, "residual_voxels": inverse.residual, **round_trip(transform, inverse)}
    write_transform(inverse, path, image, border, fill, errors)
    said = f"the transform folds in {folded:.2g} % of the voxels, where it has several" if folded > 0 else ""
    missed = f"it misses by up to {inverse.residual:.2g} voxels" if inverse.residual > EXACT else ""
    return "; ".join(part for part in (said, missed) if part)


def _check_nifti(transform: Transform, path: Path) -> None:
    """Raise `AcregError` if ITK would read a field that differs from the one in the file."""
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
    """The transform that SimpleITK reads back after it was written to `temporary`, before the move to `path`."""
    if by_suffix(path) is NIFTI:
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
    """Write an `.h5` file as ITK does, but with vectors in float32, which ITK also reads.

    ITK's own writer crashes the process on a full disk. The fixed parameters that place a field, and affine maps, are
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
