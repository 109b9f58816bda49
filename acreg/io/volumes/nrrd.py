"""NRRD, `.nrrd` and `.nhdr`: checks of its header, and its voxels.

The format: https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from acreg.errors import AcregError
from acreg.io.guards.files import data_file
from acreg.io.volumes.fields import HEADER, check_unit, choice, listed, numbered, numbers, refuse, whole_numbers
from acreg.io.volumes.voxels import SKIPPED, Layout, skip_lines

_NAMES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
TYPES = {name: dtype for dtype, names in _NAMES.items() for name in names.split(", ")}
ENCODINGS = {
    **{name: "raw" for name in ("raw",)},
    **{name: "ascii" for name in ("txt", "text", "ascii")},
    **{name: "hex" for name in ("hex",)},
    **{name: "gzip" for name in ("gz", "gzip")},
    **{name: "bzip2" for name in ("bz2", "bzip2")},
}
ORDERS = {"little": "<", "big": ">"}
DOMAIN = ("domain", "space", "time", "none", "???")
"""Kinds of spatial axes; the other axes hold the channels of a voxel."""
PER_AXIS = ("spacings", "axismins", "axismaxs", "thicknesses")
FIELDS = (
    "spacings axismins axismaxs thicknesses content number sampleunits spacedimension space min max oldmin oldmax "
    "blocksize centers centerings labels kinds "
    "type dimension sizes encoding endian datafile lineskip byteskip spacedirections spaceorigin measurementframe "
    "spaceunits units"
).split()
HANDED = ("3d-left-handed", "3dlh", "3d-left-handed-time", "3dlht")


def nrrd_layout(path: Path) -> tuple[Layout, int | None]:
    """How the voxels of an NRRD file are stored, and the axis of its channels, or None if it has none.

    Raises:
        AcregError: the header is damaged, contradicts itself, or names files outside its folder.
    """
    fields, names, start = _fields(path)
    for needed in ("type", "dimension", "sizes", "encoding"):
        if needed not in fields:
            raise refuse(path, f"without {needed}")
    (rank,) = whole_numbers(path, "dimension", fields["dimension"], 1)
    if not 1 <= rank <= 5:
        raise refuse(path, f"with {rank} as dimension, where an image has 2 or 3 axes")
    sizes = whole_numbers(path, "sizes", fields["sizes"], rank)
    if min(sizes) < 1:
        raise refuse(path, f"with sizes = {fields['sizes']!r}")
    dtype = choice(path, "type", fields["type"], TYPES)
    encoding = choice(path, "encoding", fields["encoding"], ENCODINGS)
    if "endian" not in fields and dtype[1] != "1" and encoding != "ascii":
        raise refuse(path, "without endian, the order of bytes")
    order = choice(path, "endian", fields.get("endian", "little"), ORDERS)
    channels = _channels(path, fields, rank)
    _check_geometry(path, fields, rank, channels)
    (lines,) = whole_numbers(path, "line skip", fields.get("lineskip", "0"), 1)
    (skip,) = whole_numbers(path, "byte skip", fields.get("byteskip", "0"), 1)
    # ITK skips bytes and lines one by one, even in very large files.
    if not 0 <= lines <= SKIPPED or not -1 <= skip <= SKIPPED or (skip == -1 and encoding != "raw"):
        raise refuse(path, f"with line skip {lines} and byte skip {skip} for voxels stored as {encoding}")
    local = "datafile" not in fields
    files = [path] if local else _files(path, fields["datafile"], names, sizes)
    for file in files if lines else ():
        with file.open("rb") as opened:
            opened.seek(start if local else 0)
            skip_lines(opened, lines, path)
    ends = None if skip == -1 else skip
    return Layout(tuple(sizes), np.dtype(order + dtype), encoding, files, start if local else 0, lines, ends), channels


def _fields(path: Path) -> tuple[dict[str, str], list[str], int]:
    """The fields by their names in lower case without spaces, the lines after them, and the position of these lines."""
    with path.open("rb") as file:
        head = file.read(HEADER)
    if not re.match(rb"NRRD000[1-5]\r?\n", head):
        raise refuse(path, "whose first line is not NRRD0001 to NRRD0005")
    fields: dict[str, str] = {}
    at = head.find(b"\n") + 1
    while at < len(head):
        end = head.find(b"\n", at)
        end = len(head) if end < 0 else end
        line, at = head[at:end].decode("latin-1").rstrip("\r"), end + 1
        if not line:
            break
        found = re.fullmatch(r"([A-Za-z][A-Za-z ]*):(?!=) *([^\0]*?)\s*", line)
        name = found[1].lower().replace(" ", "") if found else ""
        if line.startswith("#") or (":=" in line and name not in FIELDS and "\0" not in line):
            continue
        if found is None or name not in FIELDS:
            raise refuse(path, f"with the line {line[:60]!r}, where a field of the format belongs")
        if name in fields:
            raise refuse(path, f"which says {found[1]} twice")
        fields[name] = found[2]
        if name == "datafile" and found[2].lower().startswith("list"):
            return fields, listed(head[at:]), 0
    return fields, [], at


def _check_geometry(path: Path, fields: dict[str, str], rank: int, channels: int | None) -> None:
    """Raise `AcregError` for lengths that are not numbers, which ITK replaces, and for units other than mm."""
    for name in PER_AXIS:
        words = fields.get(name, "").split()
        if words and len(words) != rank:
            raise refuse(path, f"with {name} = {fields[name]!r}, where {rank} numbers belong")
        # "nan" means unknown in NRRD; ITK would use 1 mm.
        known = [w for k, w in enumerate(words) if w.lower() != "nan" or (name == "spacings" and k != channels)]
        numbers(path, name, " ".join(known))
    for name in ("spacedirections", "spaceorigin", "measurementframe"):
        text = fields.get(name, "")
        left = re.sub(r"\([^()]*\)|\bnone\b", " ", text)
        if left.strip():
            raise refuse(path, f"with {name} = {text[:60]!r}, where vectors such as (1,0,0) belong")
        for vector in re.findall(r"\(([^()]*)\)", text):
            if name != "measurementframe":
                numbers(path, name, vector.replace(",", " "))
    if fields.get("space", "").lower() in HANDED:
        raise refuse(path, f"whose space is {fields['space']}, which does not say where right and left are")
    for unit in re.findall(r'"([^"]*)"', fields.get("spaceunits", "") + fields.get("units", "")):
        check_unit(path, unit)


def _channels(path: Path, fields: dict[str, str], rank: int) -> int | None:
    kinds = fields.get("kinds", "").lower().split()
    if kinds and len(kinds) != rank:
        raise refuse(path, f"with kinds = {fields['kinds']!r}, where {rank} belong")
    across = [axis for axis, kind in enumerate(kinds) if kind not in DOMAIN]
    if len(across) > 1:
        raise AcregError(
            f"A voxel holds one value or a list of them. Received: {path} with the kinds {fields['kinds']}. Save one "
            "channel."
        )
    return across[0] if across else None


def _files(path: Path, named: str, names: list[str], sizes: list[int]) -> list[Path]:
    """The voxel files: one file, a pattern with numbers, or the list after the header."""
    words = named.split()
    if words and words[0].lower() == "list":
        files, across = [data_file(path, name) for name in names], words[1:]
    elif "%" in named and len(words) in (4, 5):
        first, last, step = whole_numbers(path, "data file", " ".join(words[1:4]), 3)
        files, across = numbered(path, words[0], first, last, step), words[4:]
    else:
        return [data_file(path, named)]
    (rank,) = whole_numbers(path, "data file", " ".join(across) or str(len(sizes) - 1), 1)
    wanted = math.prod(sizes[rank:]) if rank < len(sizes) else len(files)
    if not 1 <= rank <= len(sizes) or len(files) != wanted or not files or (rank == len(sizes) and sizes[-1] % wanted):
        raise refuse(path, f"whose voxels lie in {len(files)} files, where {wanted} belong")
    return files
