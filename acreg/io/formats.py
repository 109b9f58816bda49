"""The file formats behind `acreg.io.image`: what can be read, how each is decoded, how each is written."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.geometry.grid import Grid

PLAIN = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
PLAIN_WRITE = (".png", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".dicom")
ITK_WRITE = (".nrrd", ".mha")
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Loaded:
    """What a file holds: array `(*spatial)` in its own dtype, and its grid."""

    array: np.ndarray
    grid: Grid


def suffix(path: Path) -> str:
    """The suffix that names the format, in lower case: `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def is_nifti(path: Path) -> bool:
    """Whether the name is one of a NIfTI file."""
    return suffix(path) in NIFTI


def load(path: Path, labels: bool) -> Loaded:
    """Decode a file; colour becomes luminance, or for `labels` must be grey. Errors: see `acreg.io.read_image`."""
    if not path.exists() or suffix(path) in PLAIN + NIFTI + ITK or not path.is_file():
        check_file(path)
    if suffix(path) in PLAIN:
        array = _load_plain(path, labels)
        return Loaded(array, Grid(array.shape))
    if suffix(path) in NIFTI:
        return _load_nifti_image(path, labels)
    if suffix(path) in ITK or _is_dicom(path):
        return _load_itk(path, labels)
    raise UsageError(
        f"Images are read from {', '.join(PLAIN + NIFTI + ITK)}. Received: {path}. Convert the file to one of these."
    )


def check_file(path: Path) -> None:
    """Raise `AcregError` unless `path` is a file with something in it that may be read."""
    if not path.exists():
        raise AcregError(f"The file must exist. Received: {path}. Check its name and folder.")
    if not path.is_file():
        raise AcregError(f"A file is needed where a folder was given. Received: {path}. Name one image file.")
    if path.stat().st_size == 0:
        raise AcregError(f"The file must hold an image. Received: {path}, which is empty (0 bytes). Get the file again.")
    if not os.access(path, os.R_OK):
        raise AcregError(f"The file must be readable. Received: {path}, permission denied. Change its permissions.")


def check_writable(path: Path) -> None:
    """Raise `UsageError` unless the suffix names a format that can be written."""
    known = PLAIN_WRITE + NIFTI + ITK_WRITE
    if suffix(path) not in known:
        raise UsageError(f"Images are written as {', '.join(known)}. Received: {path}. Choose one of these suffixes.")


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into one paragraph about the file, and keep its warnings quiet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except AcregError:
        raise
    except MemoryError:
        raise AcregError(f"The image must fit into memory. Received: {path}. Its header may be damaged.") from None
    except Exception as error:  # decoders raise many types: OSError, SyntaxError, struct.error, zlib.error, RuntimeError
        reason = " ".join(str(error).split())[-200:] or type(error).__name__
        raise AcregError(
            f"The file must be a whole {suffix(path) or 'DICOM'} image. Received: {path}, which cannot be decoded ({reason}). "
            "It may be cut off, damaged, or of another kind than its name says; get the file again or convert it."
        ) from error


def _load_plain(path: Path, labels: bool) -> np.ndarray:
    import PIL.Image

    with _decoding(path), PIL.Image.open(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise AcregError(
                f"An image file holds one frame. Received: {path} with {frames}. Save one frame, or the stack as .nii.gz."
            )
        deep_colour = _is_deep_colour(picture)
        picture.load()
        if not deep_colour:
            return _grey_of_picture(picture, path, labels)
    # Pillow cuts colour of 16 bits to 8; ITK keeps it.
    return _load_itk(path, labels).array


def _is_deep_colour(picture: Any) -> bool:
    """Whether a file stores several channels of more than 8 bits."""
    bits = picture.tag_v2.get(258, (8,)) if hasattr(picture, "tag_v2") else (8,)
    bits = bits if isinstance(bits, tuple) else (bits,)
    if len(bits) > 1 and max(bits) > 8:
        return True
    raw = picture.tile[0][3] if picture.tile else ""
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return isinstance(raw, str) and ";16" in raw and len(picture.getbands()) > 1


def _grey_of_picture(picture: Any, path: Path, labels: bool) -> np.ndarray:
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8) * np.uint8(1 if labels else 255)
    if picture.mode in ("P", "PA"):
        colours = np.asarray(picture.convert("RGBA"))[..., :3]
        if labels and not _is_grey(colours):
            indices = np.asarray(picture)
            return indices[..., 0] if indices.ndim == 3 else indices
        return grey(colours, path, labels)
    if picture.mode in ("LA", "La"):
        return np.asarray(picture)[..., 0]
    if picture.mode in ("RGB", "RGBA", "RGBX"):
        return grey(np.asarray(picture)[..., :3], path, labels)
    if picture.mode == "L" or picture.mode == "F" or picture.mode.startswith("I"):
        array = np.asarray(picture)
        return array.astype(array.dtype.newbyteorder("="))
    return grey(np.asarray(picture.convert("RGB")), path, labels)


def _is_grey(colours: np.ndarray) -> bool:
    return bool((colours[..., 0] == colours[..., 1]).all() and (colours[..., 0] == colours[..., 2]).all())


def grey(colours: np.ndarray, path: Path, labels: bool) -> np.ndarray:
    """One channel of `(*spatial, channels)`: 3 or 4 are RGB(A), 2 grey and alpha; unequal colours are no labels."""
    if colours.shape[-1] in (1, 2) or _is_grey(colours):
        return colours[..., 0]
    if labels:
        raise AcregError(
            f"A label map has one value a pixel. Received: {path}, whose colour channels differ. Save the labels as a grey "
            "image of ids."
        )
    return np.tensordot(colours[..., :3].astype(np.float32), np.asarray(LUMINANCE, np.float32), axes=1)


def load_nifti(path: Path) -> tuple[np.ndarray, Any]:
    """The stored array of a NIfTI file, (x, y, z, ...), rescaled as its header says, and its header."""
    import nibabel

    with _decoding(path):
        image: Any = nibabel.load(path)
        return np.asanyarray(image.dataobj), image.header


def _load_nifti_image(path: Path, labels: bool) -> Loaded:
    import nibabel

    with _decoding(path):
        # nibabel notices a file that is cut off; ITK fills the rest with zeros.
        image: Any = nibabel.load(path)
        array = np.asanyarray(image.dataobj)
        coded = image.header["sform_code"] > 0 or image.header["qform_code"] > 0
        zooms = [float(z) for z in image.header.get_zooms()[:3]] + [1.0] * 3
        affine = image.affine if coded else np.diag([-zooms[0], -zooms[1], zooms[2], 1.0])
        if array.dtype.fields:  # RGB24 and RGBA32
            array = np.stack([array[channel] for channel in "RGB"], axis=-1)
            array = _drop_trailing(array, keep_last=True)
            _refuse_colour_volume(path, array.ndim - 1)
            array = grey(array, path, labels)
        array = _drop_trailing(array)
        _refuse_rank(path, array.shape)
        return Loaded(array.T, Grid.from_affine(affine, array.shape[::-1]))


def _load_itk(path: Path, labels: bool) -> Loaded:
    import SimpleITK as sitk

    with _decoding(path):
        if suffix(path) in (".mha", ".mhd", ".nhdr"):
            _check_header_text(path)
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        previous = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            image = reader.Execute()
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(previous)
        while image.GetDimension() > 2 and image.GetSize()[-1] == 1:
            image = _drop_itk_axis(image)
        colour = image.GetNumberOfComponentsPerPixel() > 1
        if colour:
            _refuse_colour_volume(path, image.GetDimension())
            if image.GetNumberOfComponentsPerPixel() not in (2, 3, 4):
                raise AcregError(
                    f"A pixel holds one value or a colour. Received: {path} with {image.GetNumberOfComponentsPerPixel()} "
                    "values a pixel. Save one channel."
                )
        _refuse_rank(path, image.GetSize())
        array = sitk.GetArrayFromImage(image)
        return Loaded(grey(array, path, labels) if colour else array, Grid.from_itk(image))


def _check_header_text(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64)
    if b"=" not in start and not start.startswith(b"NRRD"):
        raise ValueError("no header was found")


def _drop_itk_axis(image: Any) -> Any:
    """An ITK image without its last axis, of size 1; an in-plane direction that leans out of the plane becomes the identity."""
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


def _drop_trailing(array: np.ndarray, keep_last: bool = False) -> np.ndarray:
    """Drop trailing axes of size 1 until two are left (not counting a last axis of channels)."""
    last = -2 if keep_last else -1
    while array.ndim > (3 if keep_last else 2) and array.shape[last] == 1:
        array = np.squeeze(array, axis=last)
    return array


def _refuse_colour_volume(path: Path, rank: int) -> None:
    if rank != 2:
        raise AcregError(f"Colour is read from 2-D images only. Received: {path}, a colour image with {rank} axes. Save it as grey.")


def _refuse_rank(path: Path, shape: Sequence[int]) -> None:
    if len(shape) not in (2, 3):
        raise AcregError(
            f"An image has 2 or 3 axes. Received: {path} of size {tuple(shape)}. Save one frame or channel as a file."
        )


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def save_plain(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 or uint16 `(rows, columns)` as PNG or TIFF."""
    import PIL.Image

    PIL.Image.fromarray(pixels).save(path)


def save_nifti(
    array: np.ndarray,
    affine: np.ndarray,
    path: Path,
    *,
    spacing: Sequence[float],
    description: str = "acreg",
    intent: str = "none",
) -> None:
    """Write `(x, y, ...)` with the affine from indices to RAS mm, in its own dtype."""
    import nibabel

    image = nibabel.Nifti1Image(np.ascontiguousarray(array), affine, dtype=array.dtype)
    image.header.set_zooms(tuple(spacing) + (1.0,) * (array.ndim - len(spacing)))
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    image.header["descrip"] = description
    image.set_sform(affine, code="scanner")
    with contextlib.suppress(nibabel.spatialimages.HeaderDataError):  # a sheared affine has no quaternion
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
            f"The image must be written whole. Received: an incomplete {suffix(path)} file in {path.parent}. Check that the disk "
            "is not full and that the folder may be written to, or write .nii.gz."
        )
