"""What MetaImage and NRRD share: a text header, which is checked, and voxels in the same file or in other files.

ITK's readers of these formats fill missing voxels with uninitialised memory, open any file that a header
names, and crash on invalid headers. So the header is parsed and the voxels are decoded here; ITK, in a
separate process, only provides the geometry of headers that have passed the checks.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.files import DEFLATE, check_packed, check_size, kind

HEADER = 2**20
"""Largest size of a text header in bytes."""
NAMES = 2**16
"""Largest number of data files that a header may name."""
HUGE = 1e12
"""Coordinates beyond which ITK hangs."""
PACKED = {"raw": 1, "ascii": 8, "hex": 1, "zlib": DEFLATE, "gzip": DEFLATE, "bzip2": 10**6}
"""Largest number of bytes of voxels per stored byte, by encoding; the shortest text of a value has one byte."""
TEXT = {"ascii": 64, "hex": 4}
"""Largest number of bytes of text for a value (ascii) or for a byte of a value (hex)."""
SKIPPED = 2**26
"""Largest number of bytes and of lines that are skipped."""
UNITS = re.compile(r"(?:.?m|.*met(?:er|re)s?|microns?|in(?:ch(?:es)?)?|f(?:oo|ee)?t|angstroms?)", re.IGNORECASE)
"""Units of length."""
MM = ("mm", "millimeter", "millimeters", "millimetre", "millimetres")


@dataclass(frozen=True)
class Layout:
    """How the voxels of a file are stored, according to its header.

    Args:
        sizes: by axis, the fastest first, including channels.
        dtype: of a value, with its byte order.
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


def refuse(path: Path, what: str) -> AcregError:
    """The error for an invalid header: `what` is wrong with it."""
    return AcregError(
        f"The file must be a whole {kind(path)}. Received: {path}, {what}. It is cut off, damaged or of an unusual "
        "kind: get the file again, or convert it with the program that wrote it."
    )


def numbers(path: Path, name: str, text: str, count: int | None = None) -> list[float]:
    """The finite numbers of a field, `count` of them."""
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        found = [float("nan")]
    if not all(abs(number) < HUGE for number in found) or (count is not None and len(found) != count):
        raise refuse(path, f"with {name} = {text[:60]!r}, where {count or 'finite'} numbers belong")
    return found


def whole_numbers(path: Path, name: str, text: str, count: int | None = None) -> list[int]:
    """The whole numbers of a field, `count` of them."""
    words = text.split()
    if not all(re.fullmatch(r"[+-]?\d{1,18}", word) for word in words) or len(words) != (count or len(words)):
        raise refuse(path, f"with {name} = {text[:60]!r}, where {count or ''} whole numbers belong".replace("  ", " "))
    return [int(word) for word in words]


def choice(path: Path, name: str, text: str, known: Mapping[str, Any]) -> Any:
    """The meaning of a word in a field."""
    if text.strip().lower() not in known:
        raise refuse(path, f"with {name} = {text[:60]!r}, which is none of {', '.join(sorted(known))}")
    return known[text.strip().lower()]


def check_unit(path: Path, unit: str) -> None:
    """Raise `AcregError` for a unit of length other than mm, which ITK would treat as mm."""
    unit = unit.encode("latin-1", "replace").decode("utf-8", "replace").strip().lower()  # for the sign of micrometres
    if unit not in MM and UNITS.fullmatch(unit):
        raise AcregError(
            f"Lengths in NRRD and MetaImage files are in mm. Received: {path} with the unit {unit!r}, which most "
            "programs read as mm. Give the header's lengths in mm."
        )


def listed(text: bytes) -> list[str]:
    """The names in a list of files, one per line."""
    return [line.strip() for line in text.decode("latin-1").split("\n") if line.strip()]


def data_file(header: Path, name: str) -> Path:
    """The file that a header names, if it is in the folder of the header or below it.

    An untrusted file must not be able to read any other file as an image.

    Raises:
        AcregError: the name leads out of the folder, also by a link, or the file does not exist.
    """
    with contextlib.suppress(UnicodeError):  # headers are decoded byte by byte; file names are UTF-8
        name = name.encode("latin-1").decode("utf-8")
    folder, file = header.parent, header.parent / name
    if not name.isprintable() or os.path.isabs(name) or re.match(r"[A-Za-z]:|\\", name) or ".." in Path(name).parts:
        inside = False
    else:
        # A file beside the target of a linked header is also accepted, as in folders of links to a store.
        inside = any(file.resolve().is_relative_to(root) for root in (folder.resolve(), header.resolve().parent))
    if not inside:
        raise AcregError(
            f"The files of the voxels lie in the folder of their header. Received: {header}, which names {name!r}. Put "
            "the file itself (not a link) there, and its bare name into the header."
        )
    if not file.is_file():
        raise AcregError(
            f"The file of the voxels must lie where the header says. Received: {header}, which names {name}; there "
            f"is no file {file}. Put it there, or correct the name in the header."
        )
    return file


def numbered(header: Path, pattern: str, first: int, last: int, step: int) -> list[Path]:
    """The files of a pattern such as `slice%03d.raw`, for each number from the first to the last."""
    found = re.fullmatch(r"([^%]*)%(0?[1-9]?)[di]([^%]*)", pattern)
    if found is None or step == 0:
        raise refuse(header, f"with {pattern!r}, where a name with one %d and a step other than 0 belong")
    if (last - first) // step >= NAMES:
        raise refuse(header, f"which names more than {NAMES} files")
    before, width, after = found.groups()
    made = [f"{before}{number:{width}d}{after}" for number in range(first, last + (1 if step > 0 else -1), step)]
    return [data_file(header, name) for name in made]


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


def parse_numbers(text: bytes) -> np.ndarray:
    """The numbers, float64, of a text in which only spaces and line ends separate them.

    Raises:
        ValueError: a word is not a number.
    """
    spaces = np.frombuffer(b" " + text, np.uint8) <= ord(" ")
    words = int(np.count_nonzero(spaces[:-1] & ~spaces[1:]))
    if re.search(rb"[^0-9+\-.eE\s]", text):
        raise ValueError("a word is no number")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns where it stops in the middle
        values = np.fromstring(text.decode("ascii"), sep=" ") if words else np.zeros(0)
    if len(values) != words:
        raise ValueError("a word is no number")
    return values


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
