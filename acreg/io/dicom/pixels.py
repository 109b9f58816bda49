"""The stored pixels of a DICOM file, by pydicom; data that only GDCM decodes are passed to it without the header."""

from __future__ import annotations

import math
import re
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.channels import check_colour_rank, to_grey
from acreg.io.dicom.header import PIXEL_MODULE, PIXELS, read_dataset, text, title, whole_number
from acreg.io.guards import DEFLATE, check_size
from acreg.io.volumes.format import read_by_itk

if TYPE_CHECKING:
    from pydicom import Dataset

DECODER = "GDCMImageIO"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
MEASURED = ("CT", "MR", "PT", "NM")
"""Modalities whose values are measurements, which are kept regardless of how a screen should show them."""
COMPRESSED = 2**12
"""Largest number of bytes of values per stored byte of JPEG 2000."""
BESIDES = 2**28
"""Bytes that a file may have in addition to its pixels."""
PRECISION = {"PixelData": (1, 8, 16, 32), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}


def frame_shape(header: Dataset, path: Path) -> tuple[int, int, int]:
    """Frames, rows, columns."""
    rows, columns = (whole_number(header, name, path, least=1) for name in ("Rows", "Columns"))
    return whole_number(header, "NumberOfFrames", path, default=1, least=1), rows, columns


def stored_pixels(path: Path, header: Dataset, labels: bool) -> np.ndarray:
    """The pixels `(frames, rows, columns)` as stored; X-rays in MONOCHROME1 are inverted, and colour becomes grey.

    Raises:
        AcregError: there are fewer or more bytes than the header announces, the header contradicts itself, the pixels
            cannot be decoded, a colour image has several frames, or measured values are stored inverted.
    """
    _check_file_size(path, header)
    data = read_dataset(path, [*PIXEL_MODULE, *PIXELS], pixels=True)
    names = [name for name in PIXELS if name in data]
    if len(names) != 1:
        raise AcregError(
            f"The file must be a whole DICOM image. Received: {path}, which has {'no' if not names else 'several'} "
            f"{title(PIXELS[0])}. It is cut off, damaged, or holds no image; get the file again."
        )
    shape = (*frame_shape(header, path), whole_number(header, "SamplesPerPixel", path, default=1))
    stored, signed = _precision(header, path, names[0])
    photometric = _photometric(header, path, shape[-1], GREY if names[0] == "PixelData" else GREY[1:])
    if photometric not in GREY:
        check_colour_rank(path, 2 if shape[0] == 1 else 3)
    content = data[names[0]].value or b""
    allocated = whole_number(header, "BitsAllocated", path)
    syntax = _syntax(data)
    check_size(path, shape, max(allocated // 8, 1), len(content), COMPRESSED if syntax.is_encapsulated else DEFLATE)
    if not syntax.is_encapsulated:
        _check_length(path, header, shape, content, photometric)
    if not syntax.is_encapsulated or syntax.name.startswith("RLE"):
        pixels = _by_pydicom(data, shape, photometric)
        pixels = pixels if photometric in GREY else to_grey(pixels[0], path, labels)[None]
    else:
        pixels = _by_gdcm(path, data, shape, photometric, labels)
    if photometric not in GREY:
        return pixels
    if stored < allocated:
        pixels = _without_unused_bits(pixels, stored, signed)
    if photometric == "MONOCHROME1":
        _check_not_measured(header, path)
        pixels = (-1 if signed else 2**stored - 1) - pixels.astype(np.int64)
    return pixels


def _check_file_size(path: Path, header: Dataset) -> None:
    """Raise `AcregError` for a file that is far larger than its pixels, before they are read."""
    shape = (*frame_shape(header, path), whole_number(header, "SamplesPerPixel", path, default=1))
    announced = math.prod(shape) * whole_number(header, "BitsAllocated", path) // 8
    size = path.stat().st_size
    if size > 4 * announced + BESIDES:
        raise AcregError(
            f"A DICOM file has about as many bytes as its pixels. Received: {path} of {size} bytes, whose header "
            f"announces {announced}. It is damaged; get the file again."
        )


def _precision(header: Dataset, path: Path, name: str) -> tuple[int, bool]:
    """Number of bits that a value uses, and whether it is signed."""
    allocated = whole_number(header, "BitsAllocated", path)
    if allocated not in PRECISION[name]:
        raise AcregError(
            f"Pixels are stored in {', '.join(map(str, PRECISION[name]))} bits. Received: {path} with "
            f"{allocated} in {title('BitsAllocated')}. Convert it to NIfTI with another program."
        )
    if name != "PixelData":
        return allocated, True
    stored, sign = whole_number(header, "BitsStored", path), whole_number(header, "PixelRepresentation", path)
    high = whole_number(header, "HighBit", path, default=stored - 1)
    if not 1 <= stored <= allocated or high != stored - 1 or sign > 1:
        raise AcregError(
            "The bits of a DICOM pixel begin at the lowest: Bits Stored is at most Bits Allocated, High Bit one less "
            f"than Bits Stored, Pixel Representation 0 or 1. Received: {path} with {stored} of {allocated} bits, "
            f"{high} as the highest, and {sign}. The header is damaged, or the file is too old; convert it to NIfTI "
            "with another program."
        )
    return stored, sign == 1


def _photometric(header: Dataset, path: Path, samples: int, grey: tuple[str, ...]) -> str:
    photometric = text(header, "PhotometricInterpretation")
    known = (*grey, COLOURS[-1]) if samples == 1 else COLOURS[:-1] if samples == 3 else ()
    if photometric not in known:
        raise AcregError(
            f"A pixel is grey ({', '.join(GREY)}) or has a colour ({', '.join(COLOURS)}). Received: {path} with "
            f"{samples} samples a pixel and {photometric or 'nothing'!r} as {title('PhotometricInterpretation')}. "
            "Convert it with another program."
        )
    return photometric


def _check_length(path: Path, header: Dataset, shape: tuple[int, ...], content: bytes, photometric: str) -> None:
    """Raise `AcregError` unless uncompressed pixels fill their element; only zeros may follow them."""
    values = math.prod(shape)
    if photometric == "YBR_FULL_422":  # two pixels share one colour
        values = values // 3 * 2
    needed = (values * whole_number(header, "BitsAllocated", path) + 7) // 8
    rest = content[needed:]
    if len(content) < needed or (len(rest) > 1 and rest.count(0) < len(rest)):
        announced = "x".join(map(str, shape))
        raise AcregError(
            f"The file must be a whole DICOM image. Received: {path}, whose {title('PixelData')} has {len(content)} "
            f"bytes, where {needed} belong to {announced} values (frames, rows, columns, samples). It is cut off, or "
            "its header is wrong; get the file again."
        )


def _syntax(data: Dataset) -> Any:
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in data.file_meta:  # no file header: the transfer syntax that was detected
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data.file_meta.TransferSyntaxUID


def _by_pydicom(data: Dataset, shape: tuple[int, ...], photometric: str) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    pixels = pixel_array(data, raw=photometric in (*GREY, COLOURS[-1]), decoding_plugin="pydicom")
    if photometric == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, data)
        pixels = pixels >> 8 if pixels.dtype == np.uint16 else pixels  # screen colours, 8 bits as in ITK
        return pixels.reshape(*shape[:3], pixels.shape[-1])
    return pixels.reshape(shape if shape[-1] > 1 else shape[:-1])


def _by_gdcm(path: Path, data: Dataset, shape: tuple[int, ...], photometric: str, labels: bool) -> np.ndarray:
    """Decode JPEG and similar encodings: GDCM is given a file with only the pixels and their sizes."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import generate_uid

    _check_streams(path, data, shape)
    bare = Dataset()
    bare.update({element.tag: element for element in data if element.keyword in (*PIXEL_MODULE, "PixelData")})
    bare.SOPClassUID, bare.SOPInstanceUID, bare.Modality = SECONDARY_CAPTURE, generate_uid(), "OT"
    bare.NumberOfFrames = shape[0]
    if photometric in GREY:
        bare.PhotometricInterpretation = "MONOCHROME2"  # GDCM would invert the values of MONOCHROME1
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixels.dcm"
        bare.save_as(file, enforce_file_format=True)
        try:
            return read_by_itk(file, labels, DECODER)[0].reshape(shape[:3])
        except AcregError as error:
            raise AcregError(str(error).replace(str(file), str(path))) from error


def _check_streams(path: Path, data: Dataset, shape: tuple[int, ...]) -> None:
    """Raise `AcregError` unless each frame is a complete JPEG, JPEG-LS or JPEG 2000 stream of the image's size.

    GDCM uses the sizes in the header and does not initialise memory that a smaller stream does not fill.
    """
    from pydicom.encaps import generate_frames

    streams = list(generate_frames(data.PixelData, number_of_frames=shape[0]))
    for number, stream in enumerate(streams):
        size = _stream_size(stream)
        if size != shape[1:] or not stream.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
            found = "no JPEG" if size is None else "x".join(map(str, size))
            raise AcregError(
                f"The file must be a whole DICOM image. Received: {path}, whose frame {number + 1} is {found} (rows, "
                f"columns, samples) where its header has {'x'.join(map(str, shape[1:]))}, or is cut off. Get the file "
                "again."
            )
    if len(streams) != shape[0]:
        raise AcregError(
            f"The file must be a whole DICOM image. Received: {path} with {len(streams)} frames in "
            f"{title('PixelData')}, where its header has {shape[0]}. Get the file again."
        )


def _stream_size(stream: bytes) -> tuple[int, ...] | None:
    """Rows, columns and samples of a JPEG, JPEG-LS or JPEG 2000 stream."""
    boxed = stream[4:8] == b"jP  "  # a JP2 file around the stream, which GDCM reads
    if (at := stream.find(b"\xff\x4f\xff\x51", 0, None if boxed else 4)) >= 0 and len(stream) >= at + 42:
        right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
        return bottom - top, right - left, struct.unpack_from(">H", stream, at + 40)[0]
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if re.fullmatch(rb"[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]", bytes([marker])):
            return (*struct.unpack_from(">HH", stream, at + 5), stream[at + 9])
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big") if marker != 0xFF else 1
    return None


def _without_unused_bits(pixels: np.ndarray, stored: int, signed: bool) -> np.ndarray:
    """Values of `stored` bits, without the higher bits, which may hold other data (overlays)."""
    low = pixels & pixels.dtype.type(2**stored - 1)
    if not signed:
        return low
    sign = pixels.dtype.type(2 ** (stored - 1))
    return (low ^ sign) - sign


def _check_not_measured(header: Dataset, path: Path) -> None:
    modality = text(header, "Modality")
    if modality in MEASURED:
        raise AcregError(
            f"Measured values are stored as they are, MONOCHROME2. Received: {path}, {modality} in MONOCHROME1, which "
            "ITK turns into its negative as it does for X-rays. Convert it to NIfTI with the scanner's or the "
            "archive's software."
        )
