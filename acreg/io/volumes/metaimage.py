"""MetaImage, `.mha` and `.mhd`: checks of its header, and its voxels.

The format: https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from acreg.errors import AcregError
from acreg.io.guards.files import data_file
from acreg.io.volumes.fields import HEADER, NAMES, check_unit, choice, listed, numbered, numbers, refuse, whole_numbers
from acreg.io.volumes.voxels import Layout

TYPES = {
    "met_char": "i1",
    "met_ascii_char": "i1",
    "met_uchar": "u1",
    "met_short": "i2",
    "met_ushort": "u2",
    "met_int": "i4",
    "met_uint": "u4",
    "met_long": "i4",  # by MetaIO's table; 8 bytes are MET_LONG_LONG
    "met_ulong": "u4",
    "met_long_long": "i8",
    "met_ulong_long": "u8",
    "met_float": "f4",
    "met_double": "f8",
}
FLAGS = {"true": True, "false": False, "t": True, "f": False, "1": True, "0": False}
ORDER = ("elementbyteordermsb", "binarydatabyteordermsb")
SYNONYMS = (("offset", "position", "origin"), ("transformmatrix", "rotation", "orientation"), ORDER)
KNOWN = (
    "ObjectType NDims DimSize ElementType ElementNumberOfChannels HeaderSize CompressedData CompressedDataSize "
    "BinaryData BinaryDataByteOrderMSB ElementByteOrderMSB ElementToIntensityFunctionSlope "
    "ElementToIntensityFunctionOffset "
    "ElementSpacing ElementSize DistanceUnits Offset Position Origin TransformMatrix Rotation Orientation "
    "CenterOfRotation ElementDataFile"
).split()
SPELLED = {name.lower(): name for name in KNOWN}
LENGTHS = ("offset", "position", "origin", "elementspacing", "elementsize", "centerofrotation")


def metaimage_layout(path: Path) -> tuple[Layout, int | None]:
    """How the voxels of a MetaImage are stored, and the axis of its channels, or None if it has none.

    Raises:
        AcregError: the header is damaged, contradicts itself, or names files outside its folder.
    """
    fields, names, start = _fields(path)
    if fields.get("objecttype", "Image").lower() != "image":
        raise refuse(path, f"whose ObjectType is {fields['objecttype']!r}, no image")
    for needed in ("ndims", "dimsize", "elementtype"):
        if needed not in fields:
            raise refuse(path, f"without {needed}")
    (rank,) = whole_numbers(path, "NDims", fields["ndims"], 1)
    if not 1 <= rank <= 5:
        raise refuse(path, f"with {rank} as NDims, where an image has 2 or 3 axes")
    sizes = whole_numbers(path, "DimSize", fields["dimsize"], rank)
    (channels,) = whole_numbers(path, "ElementNumberOfChannels", fields.get("elementnumberofchannels", "1"), 1)
    if min(*sizes, channels) < 1:
        raise refuse(path, f"with DimSize = {fields['dimsize']!r} and {channels} channels")
    _check_geometry(path, fields, rank)
    _check_scaling(path, fields)
    (header_size,) = whole_numbers(path, "HeaderSize", fields.get("headersize", "0"), 1)
    packed = choice(path, "CompressedData", fields.get("compresseddata", "False"), FLAGS)
    binary = choice(path, "BinaryData", fields.get("binarydata", "True"), FLAGS)
    most_significant_first = any(choice(path, name, fields[name], FLAGS) for name in ORDER if name in fields)
    dtype = choice(path, "ElementType", fields["elementtype"].replace("_ARRAY", ""), TYPES)
    local = fields["elementdatafile"].lower() == "local"
    if header_size < -1 or (header_size and (packed or not binary or (local and header_size > 0))):
        raise refuse(path, f"with HeaderSize = {header_size} for voxels that are packed, text, or in the same file")
    files = [path] if local else _files(path, fields["elementdatafile"], names, sizes)
    if packed and len(files) > 1:
        raise refuse(path, "whose compressed voxels lie in several files")
    layout = Layout(
        (*((channels,) if channels > 1 else ()), *sizes),
        np.dtype((">" if most_significant_first else "<") + dtype),
        "zlib" if packed else "raw" if binary else "ascii",
        files,
        start if local else max(header_size, 0),
        skip=None if header_size == -1 else 0,
    )
    return layout, 0 if channels > 1 else None


def _fields(path: Path) -> tuple[dict[str, str], list[str], int]:
    """The fields by their names in lower case, the lines after them, and the position of these lines."""
    with path.open("rb") as file:
        head = file.read(HEADER)
    fields: dict[str, str] = {}
    at, loose = 0, ""
    while at < len(head):
        end = head.find(b"\n", at)
        end = len(head) if end < 0 else end
        line, at = head[at:end].decode("latin-1").rstrip("\r"), end + 1
        found = re.fullmatch(r"[ \t]*([^=:\0]*?)[ \t]*[=:][ \t]*([^\0]*?)[ \t]*", line)
        if "\0" in line or not (found or fields):
            raise refuse(path, f"with the line {line[:60]!r}, where `name = value` belongs")
        if found is None:  # the second line of a text, which ITK takes as part of the next name
            loose = line.strip() or loose
            continue
        name, value = found[1].lower(), found[2]
        if loose and name in SPELLED:
            raise refuse(path, f"with the line {loose[:60]!r} before {found[1]}, where `name = value` belongs")
        if SPELLED.get(name, found[1]) != found[1]:  # ITK does not know it
            raise refuse(path, f"with {found[1]!r} for {SPELLED[name]}")
        loose = ""
        if name in fields:
            raise refuse(path, f"which says {name} twice")
        fields[name] = value
        if name == "elementdatafile":
            return fields, listed(head[at:]) if value.lower().startswith("list") else [], at
    raise refuse(path, "without ElementDataFile")


def _check_geometry(path: Path, fields: dict[str, str], rank: int) -> None:
    for same in SYNONYMS:
        given = [name for name in same if name in fields]
        if len({fields[name] for name in given}) > 1:
            raise refuse(path, f"where {' and '.join(given)} differ")
    for name in LENGTHS:
        if name in fields:
            numbers(path, name, fields[name], rank)
    for name in SYNONYMS[1]:
        if name in fields:
            numbers(path, name, fields[name], rank**2)
    if "distanceunits" in fields:
        check_unit(path, fields["distanceunits"].lower().removeprefix("met_distance_units_"))


def _check_scaling(path: Path, fields: dict[str, str]) -> None:
    """Raise `AcregError` for a scaling on which programs differ: ITK ignores the factor that VTK applies."""
    wanted = {"elementtointensityfunctionslope": 1.0, "elementtointensityfunctionoffset": 0.0}
    for name, usual in wanted.items():
        if name in fields and numbers(path, name, fields[name], 1) != [usual]:
            raise AcregError(
                f"The values of a MetaImage are stored as they are. Received: {path} with {name} = {fields[name]}, "
                "which some programs apply and ITK does not. Apply it, and write the image without it."
            )


def _files(path: Path, named: str, names: list[str], sizes: list[int]) -> list[Path]:
    """The voxel files: one file, a pattern with numbers, or the list after the header."""
    words = named.split()
    if words and words[0].lower() == "list":
        rank = int(words[1][0]) if len(words) == 2 and re.fullmatch(r"[1-5][dD]?", words[1]) else len(sizes) - 1
        wanted = math.prod(sizes[rank:])
        if len(words) > 2 or len(names) != wanted or not 0 < wanted <= NAMES:
            raise refuse(path, f"which lists {len(names)} files of voxels, where {wanted} belong")
        return [data_file(path, name) for name in names]
    if "%" not in named:
        return [data_file(path, named)]
    if len(words) == 3:  # ITK divides by a step of 0
        raise refuse(path, f"whose voxels lie in {named!r}, without a step")
    first, *rest = whole_numbers(path, "ElementDataFile", " ".join(words[1:4]) or "1")
    last, step = rest if rest else (first + sizes[-1] - 1, 1)
    files = numbered(path, words[0], first, last, step) if len(words) <= 4 else []
    if len(files) < sizes[-1]:
        raise refuse(path, f"whose voxels lie in {named!r}, {len(files)} files, where {sizes[-1]} belong")
    return files[: sizes[-1]]
