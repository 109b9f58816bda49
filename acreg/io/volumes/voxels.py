"""The voxels of MetaImage and NRRD, stored beside or after their header, each of them read from a file."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.guards import DEFLATE, check_packed, check_size, kind
from acreg.io.guards.text import parse_numbers
from acreg.io.volumes.fields import refuse

PACKED = {"raw": 1, "ascii": 8, "hex": 1, "zlib": DEFLATE, "gzip": DEFLATE, "bzip2": 10**6}
"""Largest number of bytes of voxels per stored byte, by encoding; the shortest text of a value has one byte."""
TEXT = {"ascii": 64, "hex": 4}
"""Largest number of bytes of text for a value (ascii) or for a byte of a value (hex)."""
SKIPPED = 2**26
"""Largest number of bytes and of lines that are skipped."""


@dataclass(frozen=True)
class Layout:
    """How the voxels of a file are stored, according to its header.

    Args:
        sizes: by axis, the fastest first, including channels.
        dtype: type of a value, with its byte order.
        encoding: a key of `PACKED`.
        files: the files that hold the voxels one after the other, in equal parts.
        start: number of bytes at the start of each file before anything else, such as the header.
        lines: number of lines that are skipped after `start`.
        skip: number of uncompressed bytes that are skipped after the lines; with None, the voxels are at the end of the
            file.
    """

    sizes: tuple[int, ...]
    dtype: np.dtype[Any]
    encoding: str
    files: Sequence[Path]
    start: int = 0
    lines: int = 0
    skip: int | None = 0


def read_voxels(path: Path, layout: Layout) -> np.ndarray:
    """The values `(*reversed sizes)` of the file with this header; none is invented.

    Raises:
        AcregError: the files hold fewer bytes than the header announces, or more.
    """
    stored = sum(file.stat().st_size for file in layout.files)
    check_size(path, layout.sizes, layout.dtype.itemsize, stored, PACKED[layout.encoding])
    voxels = np.empty(layout.sizes[::-1], layout.dtype)
    if voxels.size % len(layout.files) or voxels.size == 0:
        raise refuse(path, f"whose {'x'.join(map(str, layout.sizes))} values lie in {len(layout.files)} files")
    for part, file in zip(voxels.reshape(len(layout.files), -1), layout.files, strict=True):
        _fill(part, file, layout, path)
    return voxels


def _fill(part: np.ndarray, file: Path, layout: Layout, path: Path) -> None:
    if layout.encoding == "gzip":
        check_packed(file)
    with file.open("rb") as opened:
        opened.seek(layout.start)
        skip_lines(opened, layout.lines, path)
        if layout.encoding in TEXT:
            opened.seek(layout.skip or 0, os.SEEK_CUR)
            room = TEXT[layout.encoding] * (part.size if layout.encoding == "ascii" else part.nbytes) + 2**16
            text = opened.read(room + 1)
            if len(text) > room:
                raise refuse(path, f"with more than {room} bytes of text for {part.size} values")
            values = _from_text(text, part.dtype) if layout.encoding == "ascii" else _from_hex(text, part.dtype)
            got, more = values.nbytes, 0
            if values.size == part.size:
                part[:] = values
        else:
            with _unpacked(opened, layout.encoding) as stream:
                if layout.skip is None:  # only raw voxels
                    before = os.fstat(opened.fileno()).st_size - part.nbytes
                    opened.seek(max(before, opened.tell()))
                elif layout.encoding == "raw":
                    opened.seek(layout.skip, os.SEEK_CUR)
                else:
                    _pass_over(stream, layout.skip)
                got = _read_into(stream, part)
                # Also reads the checksum at the end of compressed voxels.
                more = len(stream.read(2**16).strip(b"\r\n \0")) if got == part.nbytes else 0
    if got != part.nbytes or more:
        raise AcregError(
            f"The file must be a whole {kind(path)}. Received: {path}, whose header announces "
            f"{part.nbytes} bytes, where {file.name} holds {'more' if more or got > part.nbytes else got}. It is cut "
            "off or damaged; get the file again."
        )


def _read_into(stream: Any, part: np.ndarray) -> int:
    view = memoryview(part.view(np.uint8))  # type: ignore[arg-type]
    got = 0
    while got < len(view):
        count = stream.readinto(view[got : got + 2**24])
        if not count:
            break
        got += count
    return got


def skip_lines(opened: IO[bytes], count: int, path: Path) -> None:
    """Skip `count` lines of a file, which may be 0."""
    before = opened.tell()
    for _ in range(count):
        line = opened.readline(2**16)
        if not line.endswith(b"\n") or opened.tell() - before > SKIPPED:
            raise refuse(path, f"whose voxels begin behind {count} lines, where there are fewer")


def _pass_over(stream: Any, count: int) -> None:
    while count > 0 and (passed := len(stream.read(min(count, 2**20)))):
        count -= passed


@contextlib.contextmanager
def _unpacked(opened: IO[bytes], encoding: str) -> Iterator[Any]:
    if encoding == "raw":
        yield opened
    elif encoding == "gzip":
        with gzip.GzipFile(fileobj=opened, mode="rb") as stream:
            yield stream
    elif encoding == "bzip2":
        with bz2.BZ2File(opened, mode="rb") as stream:
            yield stream
    else:
        yield io.BufferedReader(_Zlib(opened), 2**20)


class _Zlib(io.RawIOBase):
    """The decompressed content of a zlib or gzip stream; the file may continue after it."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._unpacker = zlib.decompressobj(32 + zlib.MAX_WBITS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacker.eof:
            waiting = self._unpacker.unconsumed_tail or self._packed.read(2**20)
            if not waiting:
                raise EOFError("the compressed data end early")
            unpacked = self._unpacker.decompress(waiting, len(buffer))
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)
        return 0


def _from_text(text: bytes, dtype: np.dtype[Any]) -> np.ndarray:
    values = parse_numbers(text)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if values.size and (values.min() < limits.min or values.max() > limits.max or (values % 1).any()):
            raise ValueError(f"a value does not fit into {dtype}")
    return values.astype(dtype)


def _from_hex(text: bytes, dtype: np.dtype[Any]) -> np.ndarray:
    content = bytes.fromhex(text.decode("ascii"))
    return np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype)
