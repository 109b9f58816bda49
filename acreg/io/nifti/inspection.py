"""The contents of a NIfTI file: an image, a vector field, or a series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.contents import Contents
from acreg.io.guards import decoding
from acreg.io.nifti.opening import DISPLACEMENT_MARK, open_nifti, read_raw
from acreg.io.nifti.place import nifti_affine
from acreg.io.nifti.reading import read

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

VECTORS = (1006, 1007)
"""Codes of intent: displacement, vector."""
UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}


def inspect(path: Path) -> Contents:
    """The contents of a NIfTI file, even if acreg does not read it as an image."""
    with decoding(path):
        image = open_nifti(path)
        stored, header = _stored(image), _header(image)
        shape, intent = tuple(image.shape), int(image.header["intent_code"])
    ours = stored.get("description", "").startswith(DISPLACEMENT_MARK)
    if len(shape) == 5 and (intent in VECTORS or ours):
        grid = Grid.from_affine(nifti_affine(image, path), shape[: shape[-1]][::-1])
        vectors = read_raw(path)[0]
        if ours:
            what = ("displacement field of acreg", "voxels, array-axis order", "voxels")
        else:
            what = ("displacement field", f"mm, {'RAS' if intent == 1006 else 'LPS, as ITK and ANTs have them'}", "mm")
        return Contents(stored, vectors, grid, *what, header)
    if len(shape) == 4 and shape[-1] == 3:
        grid = Grid.from_affine(nifti_affine(image, path), shape[:3][::-1])
        what = ("perhaps a field of Learn2Reg", "voxels, (x, y, z), if it is; the file does not say", "voxels")
        return Contents(stored, read_raw(path)[0], grid, *what, header)
    if len([n for n in shape if n > 1]) > 3:
        stored["shape_as_stored"] = list(shape)
        return Contents(stored, read_raw(path)[0], kind="series of images", header=header)
    try:
        return Contents(stored, *read(path, labels=False), header=header)
    except AcregError as error:
        stored["shape_as_stored"] = list(shape)
        return Contents(stored, kind="image that acreg refuses", header=header, why=str(error))


def _stored(image: SpatialImage) -> dict[str, Any]:
    header = image.header
    stored: dict[str, Any] = {
        "format": type(image).__name__.removesuffix("Image"),
        "stored_as": str(header.get_data_dtype()),
    }
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if (slope, intercept) != (1.0, 0.0):
        stored["scaling"] = f"times {slope:g}, plus {intercept:g}"
    described = bytes(header["descrip"]).decode("latin-1").strip("\0 ")
    if described:
        stored["description"] = described
    return stored


def _header(image: SpatialImage) -> dict[str, Any]:
    """How the header gives the position of the image."""
    header = image.header
    forms: dict[str, Any] = {
        "unit_in_header": UNITS.get(int(header["xyzt_units"]) % 8, "none of the format's"),
        "sform_code": int(header["sform_code"]),
        "qform_code": int(header["qform_code"]),
    }
    if forms["sform_code"] > 0 and forms["qform_code"] > 0:
        forms["forms_agree"] = bool(np.allclose(image.get_sform(), image.get_qform(), rtol=0, atol=1e-2))
    return forms
