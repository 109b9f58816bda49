"""NIfTI by nibabel; NRRD, MetaImage and DICOM by SimpleITK.

nibabel reads NIfTI because it notices a file that is cut off, where ITK fills the rest with zeros.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.files import check_colour_rank, check_rank, decoding, suffix, to_grey


def load_nifti(path: Path, labels: bool) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` in array-axis order and the grid of a NIfTI file."""
    import nibabel

    with decoding(path):
        image: Any = nibabel.load(path)
        array = np.asanyarray(image.dataobj)
        if array.dtype.fields:  # RGB24 and RGBA32
            array = _drop_trailing(np.stack([array[channel] for channel in "RGB"]), keep=3)
            check_colour_rank(path, array.ndim - 1)
            array = to_grey(np.moveaxis(array, 0, -1), path, labels)
        array = _drop_trailing(array, keep=2)
        check_rank(path, array.shape)
        return array.T, Grid.from_affine(nifti_affine(image), array.shape[::-1])


def load_nifti_raw(path: Path) -> tuple[np.ndarray, str]:
    """The array of a NIfTI file as stored, (x, y, z, ...), and its description."""
    import nibabel

    with decoding(path):
        image: Any = nibabel.load(path)
        return np.asanyarray(image.dataobj), bytes(image.header["descrip"]).decode("latin-1").rstrip("\0")


def load_itk(path: Path, labels: bool) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a file that SimpleITK reads."""
    import SimpleITK as sitk

    with decoding(path):
        previous = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            image = sitk.ReadImage(str(path))
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(previous)
        while image.GetDimension() > 2 and image.GetSize()[-1] == 1:
            image = _drop_itk_axis(image)
        array = sitk.GetArrayFromImage(image)
        channels = image.GetNumberOfComponentsPerPixel()
        if channels > 1:
            check_colour_rank(path, image.GetDimension())
            if channels > 4:
                raise AcregError(
                    f"A pixel holds one value or a colour. Received: {path} with {channels} values a pixel. "
                    "Save one channel."
                )
            array = to_grey(array, path, labels)
        check_rank(path, image.GetSize())
        return array, Grid.from_itk(image)


def save_nifti(array: np.ndarray, grid: Grid, path: Path, *, description: str = "acreg", intent: str = "none") -> None:
    """Write `(x, y, ...)`, already in NIfTI's axis order, in its own dtype with the geometry of `grid`."""
    import nibabel
    from nibabel.spatialimages import HeaderDataError

    affine = grid.affine()
    image = nibabel.Nifti1Image(np.ascontiguousarray(array), affine, dtype=array.dtype)
    image.header.set_zooms(grid.spacing[::-1] + (1.0,) * (array.ndim - grid.rank))
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    image.header["descrip"] = description
    image.set_sform(affine, code="scanner")
    with contextlib.suppress(HeaderDataError):  # a sheared direction has no quaternion
        image.set_qform(affine, code="scanner")
    nibabel.save(image, path)


def save_itk(array: np.ndarray, grid: Grid, path: Path) -> None:
    """Write `(*spatial)` by SimpleITK and read it back, since ITK does not always report a full disk."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    grid.copy_to_itk(image)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
        complete = np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), array)
    except RuntimeError:
        complete = False
    if not complete:
        raise AcregError(
            f"The image must be written whole. Received: an incomplete {suffix(path)} file in {path.parent}. Check "
            "that the disk is not full and that the folder may be written to, or write .nii.gz."
        )


def nifti_affine(image: Any) -> np.ndarray:
    """A NIfTI image's affine; without a coded one, its voxel sizes with the identity direction (in LPS) at 0."""
    header = image.header
    if header["sform_code"] > 0 or header["qform_code"] > 0:
        return image.affine
    sizes: Sequence[float] = [float(z) for z in header.get_zooms()[:3]] + [1.0, 1.0]
    return np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])


def _drop_trailing(array: np.ndarray, keep: int) -> np.ndarray:
    """Drop trailing axes of size 1 while more than `keep` axes are left."""
    while array.ndim > keep and array.shape[-1] == 1:
        array = array[..., 0]
    return array


def _drop_itk_axis(image: Any) -> Any:
    """An ITK image without its last axis, of size 1; directions that lean out of the plane become the identity."""
    import SimpleITK as sitk

    rank = image.GetDimension() - 1
    direction = np.reshape(image.GetDirection(), (rank + 1, rank + 1))[:rank, :rank]
    if np.abs(np.linalg.norm(direction, axis=0) - 1).max() > 1e-3:
        direction = np.eye(rank)
    array = sitk.GetArrayFromImage(image)[0]
    result = sitk.GetImageFromArray(array, isVector=image.GetNumberOfComponentsPerPixel() > 1)
    result.SetSpacing(image.GetSpacing()[:rank])
    result.SetOrigin(image.GetOrigin()[:rank])
    result.SetDirection(direction.ravel().tolist())
    return result
