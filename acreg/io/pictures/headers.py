"""Information in the headers of PNG, TIFF and JPEG that their decoders ignore."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.guards import kind

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

ORIENTATION = 0x0112
"""The EXIF and TIFF tag of the camera orientation; 1 is upright."""
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 259, 262, 270
OFFSETS, SAMPLES, ROWS_PER_STRIP, COUNTS, PLANAR = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, EXTRA, FORMAT = 322, 323, 324, 325, 338, 339
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3
MODELS = ("1", "L", "LA", "La", "P", "PA", "F", "RGB", "RGBA", "RGBX", "RGBa")
DEFLATE = (8, 32946)
SURPLUS = 2**20
"""Bytes that are decompressed at a time."""
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""For an interlaced PNG: first column and row of each pass, and their steps."""


def check_place(picture: ImageFile, path: Path, needs_spacing: bool) -> None:
    """Raise `AcregError` for a camera rotation, which only some programs apply, and for pixels that are not square."""
    turned = picture.getexif().get(ORIENTATION, 1)
    if turned in range(2, 9):
        raise AcregError(
            "A picture is stored upright, since programs differ on whether they obey the mark by which cameras turn "
            f"it. Received: {path} with orientation {turned}. Turn the pixels, for example by `mogrify -auto-orient "
            "FILE`, and see that labels and landmarks lie on them as they do then."
        )
    told = [picture.info[key] for key in ("dpi", "aspect", "resolution", "jfif_density") if key in picture.info]
    across, down = (float(number) for number in told[0]) if told else (1.0, 1.0)
    if needs_spacing:
        _check_square(across, down, path)


def _check_square(across: float, down: float, path: Path) -> None:
    """Raise `AcregError` if the horizontal and vertical resolutions (pixels per length) differ."""
    if across > 0 and down > 0 and abs(across / down - 1) > 0.01:
        raise AcregError(
            f"A picture without spacing has square pixels. Received: {path}, whose header has {across:g} pixels across "
            f"and {down:g} down in one length. Give the spacing (`spacing` of read_image or of dataset.json), or "
            "resample it to square pixels."
        )


def check_colours(picture: ImageFile, path: Path) -> None:
    """Raise `AcregError` for colour models other than grey, palette and RGB."""
    if picture.mode not in MODELS and not picture.mode.startswith("I"):
        raise AcregError(
            f"A picture is grey or RGB. Received: {path}, which is {picture.mode}, whose shades programs compute "
            "differently. Save it as grey."
        )


def check_png(path: Path, needs_spacing: bool) -> None:
    """Check the checksums of a PNG, that all pixels are there, and that they are square by sCAL; Pillow checks none.

    Raises:
        AcregError: a checksum is wrong, the file ends early, or pixels are not square and no spacing is given.
    """
    with path.open("rb") as file:
        file.seek(8)
        pixels, name = _Deflated(0), b""
        while name != b"IEND":
            name, data = _chunk(file, path, pixels)
            if name == b"IHDR":
                pixels = _Deflated(_png_bytes(data))
            if name == b"sCAL" and needs_spacing:  # by ITK: a unit, the width of a pixel, its height
                width, height = (float(number) for number in data[1:].split(b"\0")[:2])
                _check_square(height, width, path)
    if not pixels.whole:
        raise _damaged(path, f"whose compressed pixels are {pixels.got} bytes, where {pixels.wanted} belong")


class _Deflated:
    """The state of a zlib stream: how many bytes it gives, and whether it is complete with a correct checksum."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.got = wanted, 0
        self._unpacker = zlib.decompressobj()

    @property
    def whole(self) -> bool:
        return self._unpacker.eof and self.got >= self.wanted

    def feed(self, data: bytes) -> None:
        """Decompress a part in pieces, because a few bytes may expand to very many; a small surplus is harmless."""
        while data and not self._unpacker.eof and self.got < self.wanted + SURPLUS:
            self.got += len(self._unpacker.decompress(data, SURPLUS))
            data = self._unpacker.unconsumed_tail


def _png_bytes(head: bytes) -> int:
    """Number of uncompressed bytes of the pixels of a PNG: one byte per line, and its pixels."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    bits = depth * PNG_CHANNELS[colour]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)


def _chunk(file: IO[bytes], path: Path, pixels: _Deflated) -> tuple[bytes, bytes]:
    """The name of the next chunk of a PNG and its first bytes; pixels are decompressed piece by piece."""
    head = file.read(8)
    size, name = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
    checksum, begins = zlib.crc32(name), b""
    while size and (piece := file.read(min(size, SURPLUS))):
        size -= len(piece)
        checksum = zlib.crc32(piece, checksum)
        begins = begins or piece
        if name == b"IDAT":
            pixels.feed(piece)
    stored = file.read(4)
    if size or len(stored) < 4:
        raise _damaged(path, "which ends before its end mark")
    if checksum != int.from_bytes(stored, "big"):
        raise _damaged(path, f"where the checksum of {name.decode('latin-1')!r} does not hold")
    return name, begins


def check_tiff(tags: Any, path: Path, labels: bool) -> None:
    """Raise `AcregError` for a TIFF whose values a decoder would misinterpret.

    Args:
        tags: the tags of the image, by their numbers.
        path: its file.
        labels: whether it will be read as labels.
    """
    photometric, samples = _first(tags, PHOTOMETRIC, BLACK_IS_ZERO), _first(tags, SAMPLES, 1)
    bits, form = _first(tags, BITS, 1), _first(tags, FORMAT, 1)
    alpha = np.ravel(tags.get(EXTRA, 0))[0] in (1, 2)
    if photometric == WHITE_IS_ZERO and (form != 1 or samples > 1 or (labels and bits > 1)):
        what = "as labels" if labels else f"with {samples} values a pixel that are not unsigned integers"
        raise AcregError(
            "Where white is stored as 0 (WhiteIsZero), a TIFF holds an image of one unsigned integer a pixel. "
            f"Received: {path} {what}. Save it as BlackIsZero."
        )
    grey_and_alpha = photometric == BLACK_IS_ZERO and samples == 2 and alpha
    if samples > 1 and not grey_and_alpha and (photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE) or samples > 4):
        raise AcregError(
            f"A pixel holds one value or a colour. Received: {path} with {samples} values a pixel. Save one channel."
        )
    deep = samples > 1 and bits > 8
    if samples > 1 and (
        form != 1 or bits not in (8, 16) or (deep and (photometric != RGB or tags.get(PLANAR, 1) != 1))
    ):
        raise AcregError(
            f"A colour TIFF has 8 bits, or 16 as RGB pixel by pixel, unsigned. Received: {path} with {bits} bits in "
            f"{samples} channels of another kind. Save it as grey, or as RGB of 8 bits."
        )
    compression = _first(tags, COMPRESSION, 1)
    if (photometric <= PALETTE and compression == 1) or compression in DEFLATE:
        _check_strips(tags, path, compression in DEFLATE)


def frames_of_imagej(tags: Any) -> int:
    """The number of images in ImageJ's description; in large files they are not in the list of frames."""
    lines = str(tags.get(DESCRIPTION, "")).splitlines()
    if not lines or not lines[0].startswith("ImageJ="):
        return 1
    told = [line.split("=")[1].strip() for line in lines if line.startswith("images=")]
    return int(told[0]) if told and told[0].isdecimal() else 1


def _check_strips(tags: Any, path: Path, deflated: bool) -> None:
    """Check that strips or tiles hold all pixels: Pillow fills missing ones with 0, and libtiff ignores a checksum."""
    across, down = _first(tags, WIDTH, 0), _first(tags, HEIGHT, 0)
    tiled = TILE_WIDTH in tags
    width = _first(tags, TILE_WIDTH, across)
    height = _first(tags, TILE_HEIGHT, down) if tiled else min(_first(tags, ROWS_PER_STRIP, down), down)
    planes = _first(tags, SAMPLES, 1) if _first(tags, PLANAR, 1) == 2 else 1
    row = -(-width * _first(tags, BITS, 1) * (_first(tags, SAMPLES, 1) // planes) // 8)
    if width < 1 or height < 1:
        raise _damaged(path, f"with strips or tiles of {width}x{height} pixels")
    rows = [height if tiled else min(height, down - start) for start in range(0, down, height)]
    wanted = np.tile(np.repeat(np.array(rows) * row, -(-across // width) if tiled else 1), planes)
    offsets = np.ravel(tags.get(TILE_OFFSETS if tiled else OFFSETS, ()))
    counts = np.ravel(tags.get(TILE_COUNTS if tiled else COUNTS, wanted))
    if not len(offsets) == len(counts) == len(wanted):
        raise _damaged(path, f"with {len(offsets)} strips or tiles, where {len(wanted)} belong")
    stored = counts if deflated else wanted
    if (counts < stored).any() or (offsets < 8).any() or (offsets + stored > path.stat().st_size).any():
        raise _damaged(path, "where a strip or tile holds fewer bytes than its pixels need")
    if not deflated:
        return
    with path.open("rb") as file:
        for offset, count, size in zip(offsets, counts, wanted, strict=True):
            pixels = _Deflated(int(size))
            file.seek(int(offset))
            pixels.feed(file.read(int(count)))
            if not pixels.whole:
                raise _damaged(path, f"where a strip or tile holds {pixels.got} of its {size} bytes")


def _first(tags: Any, tag: int, default: int) -> int:
    return int(np.ravel(tags.get(tag, default))[0])


def _damaged(path: Path, what: str) -> AcregError:
    return AcregError(
        f"The file must be a whole {kind(path)}. Received: {path}, {what}. It is damaged; get the file again."
    )
