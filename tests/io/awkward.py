"""Whole files whose headers are legal and unusual, or contradict what lies behind them, byte by byte."""

from __future__ import annotations

import struct
import zlib

import nibabel
import numpy as np

PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour type by the number of channels."""


def flipped(content, at, bit=0):
    """The bytes with one bit of one byte turned over."""
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    return bytes(changed)


def nifti_bytes(volume, affine, two=False, order="<", **fields):
    """A NIfTI file of `(x, y, z)` with both forms coded, and with fields of the header set as nibabel would not."""
    header = (nibabel.Nifti2Header if two else nibabel.Nifti1Header)(endianness=order)
    image = (nibabel.Nifti2Image if two else nibabel.Nifti1Image)(volume, None, header, dtype=volume.dtype)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    content = bytearray(image.to_bytes())
    for name, values in fields.items():
        dtype, at = image.header.template_dtype.fields[name][:2]
        content[at : at + dtype.itemsize] = np.asarray(values, dtype.base.newbyteorder(order)).tobytes()
    return bytes(content)


def png_bytes(pixels, chunks=(), stream=lambda packed: packed):
    """A PNG of uint8 or uint16 `(rows, columns)` or `(rows, columns, channels)`.

    `chunks` (pairs of kind and content) lie before the pixels; `stream` changes the compressed pixels.
    """
    rows, columns, channels = (*pixels.shape, 1)[:3]
    lines = [b"\0" + line.astype(pixels.dtype.newbyteorder(">")).tobytes() for line in pixels]
    size = struct.pack(">IIBBBBB", columns, rows, 8 * pixels.itemsize, PNG_COLOURS[channels], 0, 0, 0)
    packed = stream(zlib.compress(b"".join(lines)))
    parts = [(b"IHDR", size), *chunks, (b"IDAT", packed[:99]), (b"IDAT", packed[99:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def orientation_exif(orientation):
    """EXIF that holds nothing but the mark by which a camera says how it was held."""
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 274, 3, 1, orientation, 0)


def tiff_bytes(pixels, photometric=None, rows_per_strip=4, pack=lambda part: part, order="<", left_out=0, **tags):
    """A TIFF of `(rows, columns)` or `(rows, columns, channels)` in strips.

    `pack` changes each strip, the last `left_out` are missing, and tags (`t274=6`) are added or replaced.
    """
    rows, columns, channels = (*pixels.shape, 1)[:3]
    stored = pixels.astype(pixels.dtype.newbyteorder(order))
    strips = [pack(stored[at : at + rows_per_strip].tobytes()) for at in range(0, rows, rows_per_strip)]
    strips = strips[: len(strips) - left_out]
    content = b"".join(strips)
    offsets = [8 + sum(map(len, strips[:k])) for k in range(len(strips))]
    known = {
        256: [columns],
        257: [rows],
        258: [8 * pixels.itemsize] * channels,
        259: [1],
        262: [(2 if channels > 2 else 1) if photometric is None else photometric],
        273: offsets,
        277: [channels],
        278: [rows_per_strip],
        279: [len(strip) for strip in strips],
        339: [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * channels,
    }
    known.update({int(name[1:]): [value] for name, value in tags.items()})
    content += b"\0" * (len(content) % 2)
    entries = []
    for tag, values in sorted(known.items()):
        kind, code = ("I", 4) if tag in (256, 257, 273, 278, 279) else ("H", 3)
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            packed, content = struct.pack(f"{order}I", 8 + len(content)), content + packed + b"\0" * (len(packed) % 2)
        entries.append(struct.pack(f"{order}HHI", tag, code, len(values)) + packed.ljust(4, b"\0"))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(content))
    return head + content + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
