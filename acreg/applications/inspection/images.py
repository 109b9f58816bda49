"""What an image file is: its grid, its values, and whether it holds intensities, labels or vectors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io.dicom import is_segmentation_file
from acreg.io.files import HDF5, ITK, MGH, NIFTI, PICTURES, check_file, decoding, suffix
from acreg.io.image import DISPLACEMENT_MARK, read_image, read_labels
from acreg.io.label_values import has_regions
from acreg.io.nifti import load_nifti, load_nifti_raw, nifti_affine, open_nifti
from acreg.io.pictures import FORMATS, load_picture
from acreg.io.volumes import DECODERS, image_of, read_volume

FEW = 1000
"""Distinct values that a label map has at most."""
LISTED = 20
SLAB = 2**20
"""Voxels that are looked at together."""
VECTORS = (1006, 1007)
UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}
OPPOSITE = str.maketrans("RLAPSI", "LRPAIS")


def inspect_image(path: Path) -> dict[str, Any]:
    """What an image file is, by name; see `acreg.applications.inspection.files.inspect`.

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
        image = read_labels(path)
        kind, values = "labels", _values(image.array)
    else:
        image = read_image(path)
        kind, values = _kind_and_values(image.array)
    facts = {"kind": kind, "format": formats.get(suffix(path), "DICOM")}
    return {**facts, **_shape(image.grid.shape), **_place(image.grid.volume()), **values}


def _picture(path: Path) -> dict[str, Any]:
    import PIL.Image

    array = load_picture(path, labels=False)
    with decoding(path), PIL.Image.open(path, formats=FORMATS) as picture:
        facts = {"format": str(picture.format), "stored_as": f"mode {picture.mode}"}
    kind, values = _kind_and_values(array)
    return {"kind": kind, **facts, **_shape(array.shape), "spacing": None, **values}


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
    kind, values = _kind_and_values(array)
    return {"kind": kind, **facts, **_shape(array.shape), **_place(grid.volume()), **forms, **values}


def _itk(path: Path) -> dict[str, Any]:
    with decoding(path):
        volume = read_volume(path)
        stored_as = f"{'vectors of ' if volume.channels > 1 else ''}{volume.array.dtype}"
        facts = {"format": DECODERS[suffix(path)].removesuffix("ImageIO"), "stored_as": stored_as}
        rank = len(volume.size)
        if volume.channels == rank and rank in (2, 3) and volume.array.dtype.kind == "f":
            what = {"kind": "perhaps a displacement field", "vectors": "mm, LPS (x, y, z), if it is one of ITK"}
            shown = {**_shape(volume.grid.shape), **_place(volume.grid)}
            return {**what, **facts, **shown, **_lengths(volume.array, "mm")}
        if len([n for n in volume.size if n > 1]) > 3:
            stored = {"shape_as_stored": list(volume.size)}
            return {"kind": "series of images", **facts, **stored, **_values(volume.array)}
        array, grid = image_of(volume, path, labels=False)
    kind, values = _kind_and_values(array)
    return {"kind": kind, **facts, **_shape(array.shape), **_place(grid.volume()), **values}


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


@dataclass
class _Values:
    """The values of an image, looked at slab by slab, since an image may fill the memory."""

    low: float | int | None = None
    high: float | int | None = None
    not_finite: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    """How often each value is there; empty where they are not whole numbers or more than `FEW`."""

    @classmethod
    def of(cls, array: np.ndarray) -> _Values:
        found, few = cls(), True
        flat = array.reshape(-1)
        for start in range(0, flat.size, SLAB):
            slab = flat[start : start + SLAB]
            finite = slab[np.isfinite(slab)] if slab.dtype.kind == "f" else slab
            found.not_finite += slab.size - finite.size
            if finite.size:
                low, high = finite.min().item(), finite.max().item()
                found.low = low if found.low is None else min(found.low, low)
                found.high = high if found.high is None else max(found.high, high)
            few = few and finite.size == slab.size and _is_whole(slab)
            if few:
                values, counts = np.unique(slab, return_counts=True)
                found.counts.update(dict(zip(map(int, values), counts.tolist(), strict=True)))
                few = len(found.counts) <= FEW
        if not few:
            found.counts.clear()
        return found

    def facts(self) -> dict[str, Any]:
        """Range, what is not finite, and the labels if the values are whole numbers and few."""
        facts: dict[str, Any] = {"not_finite": self.not_finite} if self.not_finite else {}
        if self.low is not None:
            facts["range"] = [self.low, self.high]
        if self.counts:
            facts["distinct_values"] = len(self.counts)
        if 0 < len(self.counts) <= LISTED:
            facts["values"] = sorted(self.counts)
        return facts


def _is_whole(slab: np.ndarray) -> bool:
    return slab.dtype.kind != "f" or np.array_equal(slab, np.rint(slab))


def _values(array: np.ndarray) -> dict[str, Any]:
    return _Values.of(array).facts()


def _kind_and_values(array: np.ndarray) -> tuple[str, dict[str, Any]]:
    values = _Values.of(array)
    return _kind(array, values.counts), values.facts()


def _kind(array: np.ndarray, values: Counter[int]) -> str:
    """A guess: labels are few whole numbers whose voxels form regions, as `acreg.io.read_labels` asks."""
    if not values:
        return "image"
    return "labels (a guess by their values)" if has_regions(array) else "image (a guess by its values)"


def _lengths(vectors: np.ndarray, unit: str) -> dict[str, Any]:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    if not np.isfinite(lengths).all():
        return {"not_finite": int(np.count_nonzero(~np.isfinite(lengths)))}
    return {f"mean_length_{unit}": float(lengths.mean()), f"largest_length_{unit}": float(lengths.max())}
