"""The position of the voxels of a NIfTI or MGH file: unit, form codes, sform and qform, which must agree."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.errors import AcregError

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""By NIfTI's code: unknown (mm, as in all programs), metre, mm, micrometre."""


def nifti_affine(image: SpatialImage, path: Path, needs_spacing: bool = True) -> np.ndarray:
    """The affine to mm: the sform if it has a code, else the qform, else voxel sizes, identity direction (LPS), at 0.

    The unit of `xyzt_units` (metre, mm, micrometre) is converted to mm; an unknown unit means mm.

    Raises:
        AcregError: the sform contradicts the qform or the voxel sizes, a code or a unit is not in the standard, or the
            voxel sizes are needed and not positive.
    """
    import nibabel

    if isinstance(image, nibabel.MGHImage):
        return image.affine
    stored = _stored_header(image, path)
    unit = int(stored["xyzt_units"]) % 8
    codes = {name: int(stored[name]) for name in ("sform_code", "qform_code")}
    if unit not in MM_PER_UNIT or not all(0 <= code <= 5 for code in codes.values()):
        raise AcregError(
            "A NIfTI header has 0 to 5 as its form codes and 0 to 3 as its unit of length. Received: "
            f"{path} with sform_code {codes['sform_code']}, qform_code {codes['qform_code']} and unit {unit}, so that "
            "its place is not known. It is damaged; get the file again, or correct the header."
        )
    if codes["sform_code"] and codes["qform_code"]:
        _check_agreement(image, path)
    if codes["sform_code"] and needs_spacing:
        _check_scale(image, path, stored["pixdim"][1:4])
    elif not codes["sform_code"] and needs_spacing:
        _check_voxel_sizes(image, path, stored["pixdim"][1:4])
    affine = stored_affine(image)
    affine[:3] *= MM_PER_UNIT[unit]
    return affine


def stored_affine(image: SpatialImage) -> np.ndarray:
    """The affine in the unit of the header; without a form, voxel sizes with identity direction (LPS), at 0, as in ITK.

    (nibabel's own affine of such an image has its origin in the middle, and another direction.)
    """
    if has_place(image):
        return np.array(image.affine, dtype=float)
    sizes = np.ones(3)
    known = [float(z) for z in image.header.get_zooms()[:3]]
    sizes[: len(known)] = known
    return np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])


def has_place(image: SpatialImage) -> bool:
    """Whether the header gives the position of the image; MGH always does."""
    header = image.header
    return "sform_code" not in header.keys() or bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def apart(image: SpatialImage) -> float:
    """The largest distance in voxels between the positions of a corner by the sform and by the qform."""
    shape = (*image.shape, 1, 1)[:3]
    sform, qform = image.get_sform(), image.get_qform()
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    voxel = min(np.linalg.norm(sform[:3, axis]) for axis in range(3) if shape[axis] > 1 or axis == 0)
    return float(np.linalg.norm(corners @ (sform - qform)[:3].T, axis=1).max() / voxel) if voxel else np.inf


def _check_agreement(image: SpatialImage, path: Path) -> None:
    """Check that sform and qform agree, because nibabel uses the sform and ITK often the qform."""
    distance = apart(image)
    if not distance <= 0.5:
        raise AcregError(
            f"The sform and the qform of a NIfTI file place the image alike. Received: {path}, where they differ by "
            f"{distance:.3g} voxels in a corner, so that programs disagree on where it lies. Make them equal, for "
            "example by `fslorient -copysform2qform FILE`, or in nibabel by image.set_qform(image.get_sform(), 1)."
        )


def _check_scale(image: SpatialImage, path: Path, sizes: np.ndarray) -> None:
    """Check the voxel sizes: nibabel uses the sform alone, ITK its directions with the lengths and signs of pixdim."""
    lengths = np.linalg.norm(image.get_sform()[:3, :3], axis=0)
    said = np.isfinite(sizes) & (sizes != 0) & (lengths > 0)
    off = np.abs(sizes - lengths) * ((*image.shape, 1, 1)[:3] - np.ones(3))
    if (off[said] > 0.5 * lengths[said]).any():
        raise AcregError(
            f"The sform and the voxel sizes of a NIfTI file say the same lengths. Received: {path}, with voxels of "
            f"{'x'.join(f'{length:.4g}' for length in lengths)} by its sform and of "
            f"{'x'.join(f'{size:.4g}' for size in sizes)} by its pixdim, so that programs disagree on where it lies. "
            "Make them equal, for example in nibabel by image.header.set_zooms."
        )


def _stored_header(image: SpatialImage, path: Path) -> Any:
    """The header as stored in the file: on loading, nibabel replaces values that it finds odd."""
    from nibabel.openers import ImageOpener

    with ImageOpener(path) as file:
        return type(image.header).from_fileobj(file, check=False)


def _check_voxel_sizes(image: SpatialImage, path: Path, sizes: np.ndarray) -> None:
    wrong = [float(size) for size, n in zip(sizes, image.shape, strict=False) if n > 1 and not 0 < size < np.inf]
    if wrong:
        raise AcregError(
            f"The voxel sizes of a NIfTI file are positive. Received: {path} with {wrong[0]:g} among "
            f"{[float(size) for size in sizes]} and no sform. Give the spacing (`spacing` of read_image or of "
            "dataset.json), or correct pixdim in the header."
        )
