"""NIfTI and MGH files opened by nibabel, with complete headers and values.

nibabel reads NIfTI because it detects a truncated file, where ITK fills the rest with zeros. This module checks what
nibabel does not: the sizes that a header announces, and the checksum at the end of a compressed file.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.formats import NIFTI, by_suffix
from acreg.io.guards import CONVERTED, DEFLATE, check_packed, check_size, decoding, kind

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

DISPLACEMENT_MARK = "acreg displacement"
"""The beginning of the description of a displacement that acreg wrote."""
EXTENSIONS = 2**21
"""Largest number of bytes before the voxels: nibabel reads each header extension, which has 16 bytes or more."""
PADDING = 2**24
"""Largest number of bytes that may follow the voxels: zeros, or the tags of MGH."""


def open_nifti(path: Path) -> SpatialImage:
    """The nibabel image, after a check that the file can hold its size; `nifti_values` reads its voxels."""
    import nibabel

    packed = path.suffix.lower() in (".gz", ".mgz")
    if packed:
        check_packed(path)
    if by_suffix(path) is NIFTI:
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
    # Scaling converts values to float64; fields are converted to mm in float64.
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
        # Python's gzip compares checksums at the end of the file; the reader that nibabel would choose may not
        stream = gzip.GzipFile(fileobj=io.BytesIO(path.read_bytes()))
        with _quiet():
            image = type(image).from_file_map(type(image).make_file_map({"image": stream}))
    return image


def _check_extensions(path: Path, packed: bool) -> None:
    """Raise `AcregError` if the voxels begin so late that a small compressed file would fill the memory before them."""
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
    """Suppress nibabel's log of header values that it replaces: this module refuses those that matter."""
    from nibabel.imageglobals import logger

    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def nifti_values(image: SpatialImage, path: Path) -> np.ndarray:
    """The values of an image of `open_nifti`, `(x, y, ...)`; a compressed file is read to its end and its checksum.

    Raises:
        AcregError: more than a few zeros follow the voxels that the header announces, or the values are complex.
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


def read_raw(path: Path) -> tuple[np.ndarray, str]:
    """The array of a NIfTI file as stored, (x, y, z, ...), and its description."""
    with decoding(path):
        image = open_nifti(path)
        return nifti_values(image, path), bytes(image.header["descrip"]).decode("latin-1").rstrip("\0")
