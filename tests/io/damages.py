"""What happens to files: each damage takes `(rng, content)` and returns the content that is left."""

from __future__ import annotations

import re
import struct

import nibabel
import numpy as np

NUMBERS = [0, -1, 1, 2**15 - 1, 2**31 - 1, -(2**31), 10**9, float("nan"), float("inf"), -1e30, 1e-30]
TEXTS = [b"0", b"-1", b"nan", b"inf", b"1000000000", b"99999999999999999999", b"1e308", b"", b"abc"]
VALUES = [
    *TEXTS,
    b"%s%s%s%n 1 7 1",
    b"%d 0 3",
    b"%d.raw 0 3 1",
    b"/etc/passwd",
    b"../whole/v.raw",
    b"LIST",
    b"LIST\nv.raw",
    b"LOCAL",
    b"True",
    b"False",
    b"1 1 1",
    b"7 8 9 1",
    b"16",
    b"(1,0,0) (0,1,0) (0,0,0)",
    b"none none none",
    b"gzip",
    b"bzip2",
    b"ascii",
    b"hex",
    b"big",
    b"double",
    b"MET_DOUBLE",
    b"vector domain domain",
    b"\0",
    b"\xff\xfe",
    b"x" * 5000,
]
"""What the value of a line of a text header may become."""
HEADER = 400


def cut(rng, content):
    return content[: rng.integers(1, len(content))]


def cut_header(rng, content):
    return content[: rng.integers(1, min(HEADER, len(content)))]


def cut_end(rng, content):
    return content[: -int(rng.integers(1, min(64, len(content))))]


def flip(rng, content, end=None):
    changed = bytearray(content)
    for at in rng.integers(0, min(end or len(content), len(content)), rng.integers(1, 20)):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flip_header(rng, content):
    return flip(rng, content, HEADER)


def flip_end(rng, content):
    return content[:-HEADER] + flip(rng, content[-HEADER:])


def number(rng, content):
    """One to three fields of the header, or of what is read as one, become a number that nobody expects."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        kind = str(rng.choice(["<h", ">h", "<i", ">i", "<q", "<f", ">f", "<d"]))
        value = NUMBERS[rng.integers(len(NUMBERS))]
        size = struct.calcsize(kind)
        if kind[1] in "hiq":
            limit = 2 ** (8 * size - 1)
            value = min(max(int(np.nan_to_num(value)), -limit), limit - 1)
        end = min(HEADER, len(content)) - size
        at = int(rng.integers(0, max(end // 2, 1))) * 2
        packed = struct.pack(kind, np.clip(value, -3e38, 3e38) if kind[1] == "f" else value)
        changed[at : at + size] = packed
    return bytes(changed)


def text(rng, content):
    """A number written out in the header becomes another; without one as `number`."""
    found = list(re.finditer(rb"(?<![\w.])-?\d+\.?\d*", content[:HEADER]))
    if not found:
        return number(rng, content)
    place = found[rng.integers(len(found))]
    return content[: place.start()] + TEXTS[rng.integers(len(TEXTS))] + content[place.end() :]


def word(rng, content):
    """A word of a text header becomes another of its words."""
    found = list(re.finditer(rb"[A-Za-z]{3,}", content[:HEADER]))
    if len(found) < 2:
        return flip_header(rng, content)
    place, other = (found[i] for i in rng.integers(0, len(found), 2))
    return content[: place.start()] + other[0] + content[place.end() :]


def zeros(rng, content):
    at = int(rng.integers(0, len(content)))
    size = int(rng.integers(1, 200))
    return content[:at] + bytes(min(size, len(content) - at)) + content[at + size :]


def insert(rng, content):
    at = int(rng.integers(0, len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:]


def remove(rng, content):
    at = int(rng.integers(0, len(content)))
    return content[:at] + content[at + int(rng.integers(1, 40)) :]


def line(rng, content):
    """A line of a text header gets another value, is doubled, removed or moved."""
    end = content.find(b"\n\n") if content.startswith(b"NRRD") else content.find(b"ElementDataFile")
    head = content[: end if 0 < end < 4096 else HEADER]
    lines = head.split(b"\n")
    if len(lines) < 4:
        return number(rng, content)
    at = int(rng.integers(len(lines)))
    what = rng.integers(10)
    if what == 0:
        lines.insert(int(rng.integers(len(lines))), lines[at])
    elif what == 1:
        del lines[at]
    else:
        name = re.match(rb"[^:=]*[:=]?[=]? ?", lines[at])[0]
        lines[at] = name + VALUES[rng.integers(len(VALUES))]
    return b"\n".join(lines) + content[len(head) :]


def field(rng, content):
    """A field of a NIfTI header becomes a number that nobody expects; of another file as `line`."""
    if content[:4] != struct.pack("<i", 348) or len(content) < 348:
        return line(rng, content)
    header = nibabel.Nifti1Header(content[:348], check=False)
    block = header.structarr.copy()
    names = [name for name in block.dtype.names if block.dtype[name].base.kind in "iuf"]
    name = names[rng.integers(len(names))]
    value = NUMBERS[rng.integers(len(NUMBERS))]
    kind = block.dtype[name].base
    if kind.kind != "f":
        limits = np.iinfo(kind)
        value = min(max(int(np.nan_to_num(value)), limits.min), limits.max)
    with np.errstate(over="ignore"):
        if block.dtype[name].shape:
            block[name][rng.integers(block.dtype[name].shape[0])] = value
        else:
            block[name] = value
    return block.tobytes() + content[348:]


DAMAGES = [
    cut,
    cut_header,
    cut_end,
    flip,
    flip_header,
    flip_end,
    number,
    number,
    text,
    text,
    line,
    line,
    line,
    field,
    field,
    word,
    zeros,
    insert,
    remove,
]
