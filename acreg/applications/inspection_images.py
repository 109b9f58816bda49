"""What an image file is: its grid, its values, and whether it holds intensities, labels or vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io.dicom import is_segmentation_file
from acreg.io.files import HDF5, ITK, MGH, NIFTI, PICTURES, check_file, decoding, suffix
from acreg.io.image import DISPLACEMENT_MARK, read_image, read_labels
from acreg.io.nifti import load_nifti, load_nifti_raw, nifti_affine, open_nifti
from acreg.io.pictures import load_picture
from acreg.io.volumes import load_itk

FEW = 1000
"""Distinct values that a label map has at most."""
SHARED = 0.35
"""Neighbours that are equal: 0.43 to 0.88 of them in label maps (lungs to cortex at 2 mm), 0.02 to 0.24 in images."""
LISTED = 20
VECTORS = (1006, 1007)
UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}
OPPOSITE = str.maketrans("RLAPSI", "LRPAIS")


def inspect_image(path: Path) -> dict[str, Any]:
    """What an image file is, by name; see `acreg.applications.inspection.inspect`.

    Raises:
        AcregError: the file is empty, damaged or not of the kind that its name says.
    """
    check_file(path)
    if suffix(path) in PICTURES:
        return _picture(path)
    if suffix(path) in NIFTI:
        return _nifti(path)
    if suffix(path) in ITK:
        return _itk(path)
    formats = {**dict.fromkeys(MGH, "MGH"), **dict.fromkeys(HDF5, "HDF5")}
    if suffix(path) not in formats and is_segmentation_file(path):
        image, kind = read_labels(path), "labels"
    else:
        image = read_image(path)
        kind = _kind(image.array)
    facts = {"kind": kind, "format": formats.get(suffix(path), "DICOM")}
    return {**facts, **_shape(image.grid.shape), **_place(image.grid), **_values(image.array)}


def _picture(path: Path) -> dict[str, Any]:
    import PIL.Image

    with decoding(path), PIL.Image.open(path) as picture:
        facts = {"format": str(picture.format), "stored_as": f"mode {picture.mode}"}
    array = load_picture(path, labels=False)
    return {"kind": _kind(array), **facts, **_shape(array.shape), "spacing": None, **_values(array)}


def _nifti(path: Path) -> dict[str, Any]:
    with decoding(path):
        image = open_nifti(path)
        header = image.header
        facts: dict[str, Any] = {
            "format": type(image).__name__.removesuffix("Image"),
            "stored_as": str(header["datatype"]),
        }
        facts["stored_as"] = str(header.get_data_dtype())
        slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
        if (slope, intercept) != (1.0, 0.0):
            facts["scaling"] = f"times {slope:g}, plus {intercept:g}"
        described = bytes(header["descrip"]).decode("latin-1").strip("\0 ")
        if described:
            facts["description"] = described
        forms: dict[str, Any] = {
            "unit_in_header": UNITS.get(int(header["xyzt_units"]) % 8, "none of the format's"),
            "sform_code": int(header["sform_code"]),
            "qform_code": int(header["qform_code"]),
        }
        if forms["sform_code"] > 0 and forms["qform_code"] > 0:
            forms["forms_agree"] = bool(np.allclose(image.get_sform(), image.get_qform(), rtol=0, atol=1e-2))
        shape = tuple(image.shape)
        intent = int(header["intent_code"])
    if len(shape) == 5 and (intent in VECTORS or described.startswith(DISPLACEMENT_MARK)):
        grid = Grid.from_affine(nifti_affine(image, path), shape[: shape[-1]][::-1])
        if described.startswith(DISPLACEMENT_MARK):
            unit, what = "voxels", {"kind": "displacement field of acreg", "vectors": "voxels, array-axis order"}
        else:
            unit, what = "mm", {"kind": "displacement field", "vectors": "mm, LPS, as ITK and ANTs have them"}
        return {
            **what,
            **facts,
            **_shape(grid.shape),
            **_place(grid),
            **forms,
            **_lengths(load_nifti_raw(path)[0], unit),
        }
    if len(shape) == 4 and shape[-1] == 3:
        grid = Grid.from_affine(nifti_affine(image, path), shape[:3][::-1])
        what = {
            "kind": "perhaps a field of Learn2Reg",
            "vectors": "voxels, (x, y, z), if it is; the file does not say",
        }
        return {
            **what,
            **facts,
            **_shape(grid.shape),
            **_place(grid),
            **forms,
            **_lengths(load_nifti_raw(path)[0], "voxels"),
        }
    if len([n for n in shape if n > 1]) > 3:
        values = _values(load_nifti_raw(path)[0])
        return {"kind": "series of images", **facts, "shape_as_stored": list(shape), **forms, **values}
    try:
        array, grid = load_nifti(path, labels=False)
    except AcregError as error:
        return {"kind": "image that acreg refuses", **facts, "shape_as_stored": list(shape), **forms, "why": str(error)}
    return {"kind": _kind(array), **facts, **_shape(array.shape), **_place(grid), **forms, **_values(array)}


def _itk(path: Path) -> dict[str, Any]:
    import SimpleITK as sitk

    with decoding(path):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        facts = {
            "format": sitk.ImageFileReader.GetImageIOFromFileName(str(path)).removesuffix("ImageIO"),
            "stored_as": sitk.GetPixelIDValueAsString(reader.GetPixelID()),
        }
        rank, channels = reader.GetDimension(), reader.GetNumberOfComponents()
        vectors = sitk.ReadImage(str(path)) if channels == rank > 1 and "float" in facts["stored_as"] else None
    if vectors is not None:
        grid = Grid.from_itk(vectors)
        what = {"kind": "perhaps a displacement field", "vectors": "mm, LPS (x, y, z), if it is one of ITK"}
        return {
            **what,
            **facts,
            **_shape(grid.shape),
            **_place(grid),
            **_lengths(sitk.GetArrayFromImage(vectors), "mm"),
        }
    array, grid = load_itk(path, labels=False)
    return {"kind": _kind(array), **facts, **_shape(array.shape), **_place(grid), **_values(array)}


def _shape(shape: tuple[int, ...]) -> dict[str, Any]:
    axes = "zyx"[-len(shape) :]
    return {f"shape_{axes}": list(shape), f"shape_{axes[::-1]}": list(shape[::-1])}


def _place(grid: Grid) -> dict[str, Any]:
    """Spacing, origin and orientation, all for the axes (x, y, z) as they lie in the file."""
    from nibabel.affines import obliquity
    from nibabel.orientations import aff2axcodes

    axes = "xyz"[: grid.rank]
    facts: dict[str, Any] = {
        f"spacing_{axes}_mm": list(grid.spacing[::-1]),
        f"origin_{axes}_mm": list(grid.origin[::-1]),
    }
    if grid.rank == 3:
        affine = grid.affine()
        code = "".join(aff2axcodes(affine))
        facts["orientation_towards"] = code
        facts["orientation_from"] = code.translate(OPPOSITE)
        facts["oblique_degrees"] = float(np.degrees(obliquity(affine).max()))
    return facts


def _values(array: np.ndarray) -> dict[str, Any]:
    """Range, what is not finite, and the labels if the values are whole numbers and few."""
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    facts: dict[str, Any] = {"not_finite": int(array.size - finite.size)} if finite.size < array.size else {}
    if finite.size:
        facts["range"] = [finite.min().item(), finite.max().item()]
    values, _ = _whole_values(array)
    if 0 < len(values) <= FEW:
        facts["distinct_values"] = len(values)
    if 0 < len(values) <= LISTED:
        facts["values"] = [int(value) for value in values]
    return facts


def _whole_values(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values and how often each is there; none if they are not whole numbers."""
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and np.array_equal(array, np.rint(array))):
        array = array[:0]
    return np.unique(array, return_counts=True)


def _kind(array: np.ndarray) -> str:
    """A guess: labels are few whole numbers that neighbours share, also where the most frequent of them is not."""
    values, counts = _whole_values(array)
    if not 0 < len(values) <= FEW:
        return "image"
    background = values[np.argmax(counts)]
    counted = same = 0
    for axis in range(array.ndim):
        one, other = (np.delete(array, drop, axis) for drop in (0, -1))
        seen = (one != background) | (other != background)
        counted += int(np.count_nonzero(seen))
        same += int(np.count_nonzero((one == other) & seen))
    shared = same > SHARED * counted or len(values) <= 2
    return "labels (a guess by their values)" if shared else "image (a guess by its values)"


def _lengths(vectors: np.ndarray, unit: str) -> dict[str, Any]:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    if not np.isfinite(lengths).all():
        return {"not_finite": int(np.count_nonzero(~np.isfinite(lengths)))}
    return {f"mean_length_{unit}": float(lengths.mean()), f"largest_length_{unit}": float(lengths.max())}
