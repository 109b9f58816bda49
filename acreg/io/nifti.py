"""NIfTI, and FreeSurfer's MGH and MGZ, by nibabel.

nibabel reads NIfTI because it notices a file that is cut off, where ITK fills the rest with zeros.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.files import DEFLATE, check_colour_rank, check_rank, check_size, decoding, to_grey


def load_nifti(path: Path, labels: bool, needs_spacing: bool = True) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` in array-axis order and the grid of a NIfTI or MGH file.

    `needs_spacing` is false where the caller gives the spacing, so that a header without one will do.
    """
    with decoding(path):
        image = open_nifti(path)
        affine = nifti_affine(image, path, needs_spacing)
        array = np.asanyarray(image.dataobj)
        if array.dtype.fields:  # RGB24 and RGBA32
            array = _drop_trailing(np.stack([array[channel] for channel in array.dtype.names]), keep=3)
            check_colour_rank(path, array.ndim - 1)
            array = to_grey(np.moveaxis(array, 0, -1), path, labels)
        array = _drop_trailing(array, keep=2)
        check_rank(path, array.shape)
        return array.T, Grid.from_affine(affine, array.shape[::-1])


def load_nifti_raw(path: Path) -> tuple[np.ndarray, str]:
    """The array of a NIfTI file as stored, (x, y, z, ...), and its description."""
    with decoding(path):
        image = open_nifti(path)
        return np.asanyarray(image.dataobj), bytes(image.header["descrip"]).decode("latin-1").rstrip("\0")


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


def open_nifti(path: Path) -> Any:
    """nibabel's image, its voxels not yet read, of a size that the file can hold."""
    import nibabel
    from nibabel.imageglobals import LoggingOutputSuppressor

    with LoggingOutputSuppressor():
        # Without mmap: a file that changes later must not change an image that was read.
        image: Any = nibabel.load(path, mmap=False)
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.MGHImage)):  # Nifti2Image is a Nifti1Image
        raise AcregError(
            f"An image is a NIfTI-1, NIfTI-2 or MGH file. Received: {path}, a {type(image).__name__}. Export its "
            "volume as .nii.gz."
        )
    packed = path.suffix.lower() in (".gz", ".mgz")
    check_size(path, image.shape, image.get_data_dtype().itemsize, path.stat().st_size, DEFLATE if packed else 1)
    return image


def nifti_affine(image: Any, path: Path, needs_spacing: bool = True) -> np.ndarray:
    """The affine: the sform where it is coded, else the qform, else voxel sizes with the identity direction (LPS) at 0.

    Raises:
        AcregError: sform and qform contradict each other, or the voxel sizes are needed and not positive.
    """
    import nibabel

    header = image.header
    if isinstance(image, nibabel.MGHImage):
        return image.affine
    if header["sform_code"] > 0:
        if header["qform_code"] > 0:
            _check_agreement(image, path)
        return image.affine
    if needs_spacing:
        _check_voxel_sizes(image, path)
    if header["qform_code"] > 0:
        return image.affine
    sizes = np.ones(3)
    known = [float(z) for z in header.get_zooms()[:3]]
    sizes[: len(known)] = known
    return np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])


def _check_agreement(image: Any, path: Path) -> None:
    """Programs differ in which they take (nibabel the sform, ITK often the qform), so both must say the same."""
    sform, qform = image.get_sform(), image.get_qform()
    shape = (*image.shape, 1, 1)[:3]
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    apart = np.linalg.norm(corners @ (sform - qform)[:3].T, axis=1).max()
    voxel = min(np.linalg.norm(sform[:3, axis]) for axis in range(3) if shape[axis] > 1 or axis == 0)
    if not apart <= voxel / 2:
        raise AcregError(
            f"The sform and the qform of a NIfTI file place the image alike. Received: {path}, where they differ by "
            f"{apart:.3g} mm in a corner, so that programs disagree on where it lies. Make them equal, for example "
            "by `fslorient -copysform2qform FILE`, or in nibabel by image.set_qform(image.get_sform(), 1)."
        )


def _check_voxel_sizes(image: Any, path: Path) -> None:
    from nibabel.openers import ImageOpener

    with ImageOpener(path) as file:  # nibabel replaces 0 by 1 and drops signs when it loads
        sizes = type(image.header).from_fileobj(file, check=False)["pixdim"][1:4]
    wrong = [float(size) for size, n in zip(sizes, image.shape, strict=False) if n > 1 and not 0 < size < np.inf]
    if wrong:
        raise AcregError(
            f"The voxel sizes of a NIfTI file are positive. Received: {path} with {wrong[0]:g} among "
            f"{[float(size) for size in sizes]} and no sform. Give the spacing (`spacing` of read_image or of "
            "dataset.json), or correct pixdim in the header."
        )


def _drop_trailing(array: np.ndarray, keep: int) -> np.ndarray:
    """Drop trailing axes of size 1 while more than `keep` axes are left."""
    while array.ndim > keep and array.shape[-1] == 1:
        array = array[..., 0]
    return array
