"""NIfTI, and FreeSurfer's MGH and MGZ, by nibabel.

nibabel reads NIfTI because it notices a file that is cut off, where ITK fills the rest with zeros. What it does not
look at is looked at here: the unit of length, the checksum that ends a compressed file, form codes that do not exist.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.files import (
    CONVERTED,
    DEFLATE,
    NIFTI,
    check_colour_rank,
    check_packed,
    check_rank,
    check_size,
    decoding,
    kind,
    suffix,
    to_grey,
)

MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""By NIfTI's code: unknown (mm, as all programs have it), metre, mm, micrometre."""
EXTENSIONS = 2**21
"""Bytes that lie before the voxels at most: nibabel reads each extension of a header, which have 16 bytes or more."""
PADDING = 2**24
"""Bytes that may follow the voxels: zeros, or the tags of MGH."""
SAME_PLACE = 0.01
"""Voxels by which the sform and the qform that are written may differ."""
SCALED_PRECISION = 2.0**-21
"""Relative error of a value that was scaled by a factor and a summand in float32."""


def load_nifti(path: Path, labels: bool, needs_spacing: bool = True) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` in array-axis order and the grid of a NIfTI or MGH file.

    `needs_spacing` is false where the caller gives the spacing, so that a header without one will do.
    """
    with decoding(path):
        image = open_nifti(path)
        affine = nifti_affine(image, path, needs_spacing)
        array = nifti_values(image, path)
        if labels and array.dtype != image.get_data_dtype():
            array = _whole_where_scaled(array, image.dataobj.inter)
        if array.dtype.fields:  # RGB24 and RGBA32
            array = _drop_trailing(np.stack([array[channel] for channel in array.dtype.names or ()]), keep=3)
            check_colour_rank(path, array.ndim - 1)
            array = to_grey(np.moveaxis(array, 0, -1), path, labels)
        array = _drop_trailing(array, keep=2)
        check_rank(path, array.shape)
        grid = Grid.from_affine(affine, array.shape[::-1])
        return array.T, grid if _has_place(image) else replace(grid, plane=())


def from_nibabel(image: Any, name: str) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` in array-axis order and the grid of an image of nibabel in memory, which `name` is for.

    Raises:
        AcregError: it has no affine, vectors or colours, or other than 2 or 3 axes.
    """
    import nibabel

    array = np.asanyarray(image.dataobj)
    if image.affine is None or array.dtype.fields or array.dtype.kind == "c":
        raise AcregError(
            f"An image of nibabel has an affine and one real value a voxel. Received: {name} of {array.dtype} "
            f"{'without' if image.affine is None else 'with'} an affine. Give one channel, with its affine."
        )
    array = _drop_trailing(array, keep=2)
    affine = np.array(image.affine, dtype=float)
    if isinstance(image, nibabel.Nifti1Image):
        affine[:3] *= MM_PER_UNIT.get(int(image.header["xyzt_units"]) % 8, 1.0)
    grid = Grid.from_affine(affine, array.shape[::-1])
    known = not isinstance(image, nibabel.Nifti1Image) or _has_place(image)
    return array.T, grid if known else replace(grid, plane=())


def load_nifti_raw(path: Path) -> tuple[np.ndarray, str]:
    """The array of a NIfTI file as stored, (x, y, z, ...), and its description."""
    with decoding(path):
        image = open_nifti(path)
        return nifti_values(image, path), bytes(image.header["descrip"]).decode("latin-1").rstrip("\0")


def save_nifti(array: np.ndarray, grid: Grid, path: Path, *, description: str = "acreg", intent: str = "none") -> None:
    """Write `(x, y, ...)`, already in NIfTI's axis order, in its own dtype with the geometry of `grid`.

    A sheared grid is written as an sform alone, with `qform_code` 0.
    """
    import nibabel

    affine = grid.affine()
    if grid.plane and array.ndim == 2:
        array = array[..., None]
    image = nibabel.Nifti1Image(np.ascontiguousarray(array), affine, dtype=array.dtype)
    image.header.set_zooms(grid.spacing[::-1] + (1.0,) * (array.ndim - grid.rank))
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    image.header["descrip"] = description
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    if _apart(image) > SAME_PLACE:  # a sheared grid (a tilted gantry), which a quaternion cannot hold
        image.set_qform(None, code="unknown")
    nibabel.save(image, path)


def open_nifti(path: Path) -> Any:
    """nibabel's image, of a size that the file can hold; `nifti_values` reads its voxels."""
    import nibabel

    packed = path.suffix.lower() in (".gz", ".mgz")
    if packed:
        check_packed(path)
    if suffix(path) in NIFTI:
        _check_extensions(path, packed)
    with _quiet():
        # Without mmap: a file that changes later must not change an image that was read.
        image: Any = nibabel.load(path, mmap=False)
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.MGHImage)):  # Nifti2Image is a Nifti1Image
        raise AcregError(
            f"An image is a NIfTI-1, NIfTI-2 or MGH file. Received: {path}, a {type(image).__name__}. Export its "
            "volume as .nii.gz."
        )
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
    # Scaling makes float64 of the values, fields become mm in float64.
    converted = 24 if len(image.shape) > 3 else CONVERTED + 8 * scaled
    itemsize, stored = image.get_data_dtype().itemsize, path.stat().st_size
    check_size(path, image.shape, itemsize, stored, DEFLATE if packed else 1, converted)
    if isinstance(image, nibabel.Nifti1Image) and image.dataobj.offset < image.header.single_vox_offset:
        raise AcregError(
            f"The voxels of a NIfTI file lie behind its header. Received: {path} with vox_offset "
            f"{image.dataobj.offset}, where the first {image.header.single_vox_offset} bytes are the header's. It is "
            "damaged, or the header of an .img file; get the file again, or convert the pair to .nii.gz."
        )
    if packed:
        needed = image.dataobj.offset + itemsize * math.prod(image.shape)
        if stored > 2 * needed + PADDING:
            raise AcregError(
                f"The file must be a whole {kind(path)}, of the voxels that its header announces. Received: {path} of "
                f"{stored} bytes, where {needed} are packed. The header is damaged; get the file again."
            )
        # Python's gzip compares checksums, at the end of the file; what nibabel would take may not
        stream = gzip.GzipFile(fileobj=io.BytesIO(path.read_bytes()))
        with _quiet():
            image = type(image).from_file_map(type(image).make_file_map({"image": stream}))
    return image


def _check_extensions(path: Path, packed: bool) -> None:
    """Raise `AcregError` where the voxels begin so late that a small packed file would fill the memory before them."""
    from nibabel import Nifti1Header, Nifti2Header

    with gzip.open(path) if packed else path.open("rb") as file:
        head = file.read(540)
    known = Nifti2Header if Nifti2Header.may_contain_header(head) else Nifti1Header
    size = known.template_dtype.itemsize
    if len(head) >= size and known(head[:size], check=False)["vox_offset"] > EXTENSIONS:
        raise AcregError(
            f"The header of a NIfTI file has at most {EXTENSIONS // 2**20} MiB with its extensions. Received: {path}, "
            "whose voxels begin after more. It is damaged; get the file again, or save it without extensions."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without nibabel's log of what it replaces in a header: what matters is refused here."""
    from nibabel.imageglobals import logger

    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def nifti_values(image: Any, path: Path) -> np.ndarray:
    """The values of an image of `open_nifti`, `(x, y, ...)`; a compressed file is read to its end and its checksum.

    Raises:
        AcregError: more than some zeros follow the voxels that the header announces, or they are complex.
    """
    from nibabel import MGHImage  # its voxels are followed by tags

    array = np.asanyarray(image.dataobj)
    if array.dtype.kind == "c":
        raise AcregError(
            f"The values of a NIfTI file are real numbers. Received: {path} of {array.dtype}. Save the magnitude, or "
            "the real part."
        )
    stream = image.dataobj.file_like
    with contextlib.ExitStack() as stack:
        if not isinstance(stream, gzip.GzipFile):
            stream = stack.enter_context(path.open("rb"))
            stream.seek(int(image.dataobj.offset) + image.get_data_dtype().itemsize * array.size)
        followed = 0
        while rest := stream.read(2**20):
            followed += len(rest)
            if followed > PADDING or (rest.strip(b"\0") and not isinstance(image, MGHImage)):
                raise AcregError(
                    f"The file must be a whole {kind(path)}, of the voxels that its header announces. Received: "
                    f"{path}, where more follow the {'x'.join(map(str, image.shape))}. The header is damaged; get the "
                    "file again."
                )
    return array


def nifti_affine(image: Any, path: Path, needs_spacing: bool = True) -> np.ndarray:
    """The affine to mm: the sform where it is coded, else the qform, else voxel sizes, identity direction (LPS), at 0.

    The unit of `xyzt_units` (metre, mm, micrometre) is made mm; unknown is mm.

    Raises:
        AcregError: the sform contradicts the qform or the voxel sizes, a code or a unit is none of the format's, or the
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
    affine = np.array(image.affine, dtype=float)
    if not any(codes.values()):
        sizes = np.ones(3)
        known = [float(z) for z in image.header.get_zooms()[:3]]
        sizes[: len(known)] = known
        affine = np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])
    affine[:3] *= MM_PER_UNIT[unit]
    return affine


def _has_place(image: Any) -> bool:
    """Whether the header says where the image lies; MGH always does."""
    header = image.header
    return "sform_code" not in header.keys() or bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def _apart(image: Any) -> float:
    """How far the sform and the qform place a corner apart, in voxels."""
    shape = (*image.shape, 1, 1)[:3]
    sform, qform = image.get_sform(), image.get_qform()
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    voxel = min(np.linalg.norm(sform[:3, axis]) for axis in range(3) if shape[axis] > 1 or axis == 0)
    return float(np.linalg.norm(corners @ (sform - qform)[:3].T, axis=1).max() / voxel) if voxel else np.inf


def _check_agreement(image: Any, path: Path) -> None:
    """Programs differ in which they take (nibabel the sform, ITK often the qform), so both must say the same."""
    apart = _apart(image)
    if not apart <= 0.5:
        raise AcregError(
            f"The sform and the qform of a NIfTI file place the image alike. Received: {path}, where they differ by "
            f"{apart:.3g} voxels in a corner, so that programs disagree on where it lies. Make them equal, for example "
            "by `fslorient -copysform2qform FILE`, or in nibabel by image.set_qform(image.get_sform(), 1)."
        )


def _check_scale(image: Any, path: Path, sizes: np.ndarray) -> None:
    """nibabel takes the lengths of the sform alone, ITK its directions with the lengths, and signs, of pixdim."""
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


def _stored_header(image: Any, path: Path) -> Any:
    """The header as it lies in the file: nibabel replaces what it finds odd when it loads."""
    from nibabel.openers import ImageOpener

    with ImageOpener(path) as file:
        return type(image.header).from_fileobj(file, check=False)


def _check_voxel_sizes(image: Any, path: Path, sizes: np.ndarray) -> None:
    wrong = [float(size) for size, n in zip(sizes, image.shape, strict=False) if n > 1 and not 0 < size < np.inf]
    if wrong:
        raise AcregError(
            f"The voxel sizes of a NIfTI file are positive. Received: {path} with {wrong[0]:g} among "
            f"{[float(size) for size in sizes]} and no sform. Give the spacing (`spacing` of read_image or of "
            "dataset.json), or correct pixdim in the header."
        )


def _whole_where_scaled(array: np.ndarray, intercept: float) -> np.ndarray:
    """Scaled labels as the whole numbers that they are but for the rounding of the scale to the header's float32."""
    whole = np.rint(array)
    return np.where(np.abs(array - whole) <= SCALED_PRECISION * (np.abs(whole) + abs(intercept)), whole, array)


def _drop_trailing(array: np.ndarray, keep: int) -> np.ndarray:
    """Drop trailing axes of size 1 while more than `keep` axes are left."""
    while array.ndim > keep and array.shape[-1] == 1:
        array = array[..., 0]
    return array
