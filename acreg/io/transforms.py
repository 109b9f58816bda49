"""Transforms in files that other programs open.

ITK's composite transforms (`.h5`, `.tfm`) and displacement fields (`.nii.gz` with vector intent, mm, LPS), which 3D
Slicer, ITK-SNAP and ANTs read, and the fields of the Learn2Reg challenges (voxels). ITK's transforms take a point of
the fixed image to the moving one, as acreg's do; its axes and vectors are acreg's in reverse order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import scipy.io
import SimpleITK as sitk

from acreg.errors import AcregError, UsageError
from acreg.geometry.displacement import voxel_indices
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine, Displacement, Map, Velocity
from acreg.geometry.transform import Transform
from acreg.io.atomic import atomic_path
from acreg.io.files import NIFTI, check_file, decoding, suffix
from acreg.io.hdf5 import check_transform
from acreg.io.image import Image
from acreg.io.nifti import load_nifti_raw

COMPOSITE = (".h5", ".tfm")
TOLERANCE = 1e-3
"""Largest difference, relative to the intensity range, between our warped image and SimpleITK's that a write passes."""


def write_transform(transform: Transform, path: str | os.PathLike[str], image: Image | None = None) -> float:
    """Write a transform, read it back with SimpleITK, and compare what it does to an image with what ours does.

    `.h5` and `.tfm` hold the maps one by one (a velocity as its displacement); `.nii` and `.nii.gz` hold all of them as
    one displacement field in mm on the fixed grid. The result of the comparison is written beside the file, as
    `<name>.check.json`.

    Args:
        transform: what to write.
        path: where.
        image: a moving image to compare on; a smooth pattern on the moving grid if left out.

    Returns:
        The largest difference of the two warped images, relative to the image's intensity range.

    Raises:
        AcregError: the difference exceeds 1e-3; the file is removed.
        UsageError: another suffix.
        OSError: the disk is full, or writing is not permitted.
    """
    path = Path(path)
    image = _pattern(transform.moving) if image is None else image
    with atomic_path(path) as temporary:
        if suffix(path) in COMPOSITE:
            sitk.WriteTransform(to_itk(transform), str(temporary))
            back = sitk.ReadTransform(str(temporary))
        elif suffix(path) in NIFTI:
            sitk.WriteImage(_field_to_itk(Displacement(transform.displacement, transform.fixed)), str(temporary))
            back = sitk.DisplacementFieldTransform(sitk.ReadImage(str(temporary), sitk.sitkVectorFloat64))
        else:
            raise UsageError(
                f"Transforms are written as {', '.join(COMPOSITE + NIFTI)}. Received: {path}. Choose one of them."
            )
        difference, voxels = _difference(transform, back, image)
        if not difference <= TOLERANCE:
            raise AcregError(
                "A transform that is written does in SimpleITK what it does here. Received: "
                f"{path}, with which the warped image differs by {difference:.2g} of its intensity range. The file was "
                "not kept."
            )
    check = {"program": f"SimpleITK {sitk.Version_VersionString()}", "image": image.name or "pattern"}
    with atomic_path(path.with_name(path.name + ".check.json")) as temporary:
        text = json.dumps({**check, "voxels": voxels, "largest_difference": difference}, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
    return difference


def read_transform(path: str | os.PathLike[str], fixed: Grid, moving: Grid) -> Transform:
    """Read a transform that maps points of the fixed image to the moving one.

    Args:
        path: an ITK transform (`.h5`, `.tfm`, `.txt`, ANTs' `0GenericAffine.mat`) or a displacement field in mm
            (`.nii`, `.nii.gz` with vector intent: ANTs' `1Warp.nii.gz`).
        fixed, moving: the grids of the two images.

    Raises:
        AcregError: the file is missing or damaged, of another number of axes, or of a kind that is neither linear nor a
            displacement field.
    """
    path = Path(path)
    check_file(path)
    with decoding(path, "transform"):
        if suffix(path) in NIFTI:
            load_nifti_raw(path)  # it notices a file that is cut off, where ITK fills the rest with zeros
            intent = int(nibabel.load(path).header["intent_code"])  # type: ignore[attr-defined]
            if intent not in (1006, 1007):
                raise AcregError(
                    "A displacement field is a NIfTI of vectors (intent 1006 or 1007). Received: "
                    f"{path} with intent {intent}. Is it an image? Learn2Reg's fields are read by read_learn2reg."
                )
            found: sitk.Transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
        else:
            if suffix(path) == ".h5":
                check_transform(path)
            if suffix(path) == ".mat":
                scipy.io.loadmat(path)  # ITK takes the sizes in the file for granted
            found = sitk.ReadTransform(str(path))
        if found.GetDimension() != fixed.rank:
            raise AcregError(
                f"The transform has the images' number of axes. Received: {path} with {found.GetDimension()}, images "
                f"with {fixed.rank}."
            )
        return Transform(fixed, moving, tuple(_from_itk(found, path)))


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


def to_itk(transform: Transform) -> sitk.CompositeTransform:
    """The same maps as SimpleITK's transforms."""
    composite = sitk.CompositeTransform(transform.fixed.rank)
    for part in reversed(transform.maps):  # ITK applies first what was added last
        if isinstance(part, Affine):
            matrix = part.matrix[:-1, :-1][::-1, ::-1]
            composite.AddTransform(sitk.AffineTransform(matrix.ravel().tolist(), part.matrix[:-1, -1][::-1].tolist()))
        else:
            field = part.displacement if isinstance(part, Velocity) else part
            composite.AddTransform(sitk.DisplacementFieldTransform(_field_to_itk(field)))
    return composite


def _field_to_itk(part: Displacement) -> sitk.Image:
    mm = part.in_mm(part.vectors.astype(float))
    field = sitk.GetImageFromArray(np.ascontiguousarray(mm[..., ::-1]), isVector=True)
    part.grid.copy_to_itk(field)
    return field


def _from_itk(found: sitk.Transform, path: Path) -> Sequence[Map]:
    found = found.Downcast()
    if isinstance(found, sitk.CompositeTransform):
        parts = [found.GetNthTransform(i) for i in reversed(range(found.GetNumberOfTransforms()))]
        return [part for nested in parts for part in _from_itk(nested, path)]
    if isinstance(found, sitk.DisplacementFieldTransform):
        field = found.GetDisplacementField()
        grid = Grid.from_itk(field)
        mm = sitk.GetArrayFromImage(field)[..., ::-1]
        return [Displacement(mm @ np.linalg.inv(grid.matrix[:-1, :-1]).T, grid)]
    if found.IsLinear():
        rank = found.GetDimension()
        origin = np.array(found.TransformPoint([0.0] * rank))
        columns = [np.array(found.TransformPoint(unit.tolist())) - origin for unit in np.eye(rank)]
        matrix = np.eye(rank + 1)
        matrix[:-1, :-1] = np.stack(columns, axis=1)[::-1, ::-1]
        matrix[:-1, -1] = origin[::-1]
        return [Affine(matrix)]
    raise AcregError(
        f"A transform is linear, a displacement field, or made of these. Received: {path} with a {found.GetName()}. "
        "Convert it to a displacement field, for example with SimpleITK's TransformToDisplacementField."
    )


def _difference(transform: Transform, back: sitk.Transform, image: Image) -> tuple[float, int]:
    """Largest difference between our warped image and SimpleITK's, relative to the image's range, and over how many
    voxels: those that look inside of the image, because outside of it the two programs follow different rules."""
    resample = sitk.ResampleImageFilter()
    resample.SetSize(transform.fixed.shape[::-1])
    resample.SetOutputSpacing(transform.fixed.spacing[::-1])
    resample.SetOutputOrigin(transform.fixed.origin[::-1])
    resample.SetOutputDirection(np.asarray(transform.fixed.direction)[::-1, ::-1].ravel().tolist())
    resample.SetTransform(back)
    resample.SetOutputPixelType(sitk.sitkFloat64)
    resample.SetDefaultPixelValue(float("nan"))
    moving = sitk.GetImageFromArray(image.array)
    image.grid.copy_to_itk(moving)
    theirs = sitk.GetArrayFromImage(resample.Execute(moving))
    inside = np.isfinite(theirs)
    apart = np.abs(transform.warp_image(image).array - theirs)[inside]
    return float(apart.max(initial=0.0) / max(float(np.ptp(image.array)), 1e-30)), int(inside.sum())


def _pattern(grid: Grid) -> Image:
    """Waves of about ten voxels along every axis."""
    indices = np.indices(grid.shape)
    return Image(sum(np.sin(0.6 * along + axis) for axis, along in enumerate(indices)), grid)
