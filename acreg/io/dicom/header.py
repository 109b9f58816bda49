"""The header of a DICOM file, read by pydicom: only the elements that give the position and meaning of pixels.

All errors that pydicom raises become one message in `acreg.io.dicom.format`, which calls these functions.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from acreg.errors import AcregError
from acreg.io.formats import DICOM
from acreg.io.guards import has_mark

if TYPE_CHECKING:
    from pydicom import Dataset

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PIXEL_MODULE = (
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated "
    "BitsStored HighBit PixelRepresentation RedPaletteColorLookupTableDescriptor "
    "GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData "
    "GreenPaletteColorLookupTableData BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData "
    "SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData ExtendedOffsetTable "
    "ExtendedOffsetTableLengths"
).split()
HEADER = (
    "SOPClassUID Modality SeriesDescription SeriesInstanceUID FrameOfReferenceUID TemporalPositionIdentifier "
    "EchoNumbers DiffusionBValue Units RescaleType ImagerPixelSpacing EstimatedRadiographicMagnificationFactor "
    "NominalScannedPixelSpacing PixelSpacing SpacingBetweenSlices SliceThickness ImagePositionPatient "
    "ImageOrientationPatient RescaleSlope RescaleIntercept ModalityLUTSequence RealWorldValueMappingSequence "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence SegmentSequence SegmentationType "
    "MaximumFractionalValue DoseGridScaling GridFrameOffsetVector ImageType DimensionIndexSequence "
    "DetectorInformationSequence SliceVector"
).split() + PIXEL_MODULE
LARGEST = 1e9
"""Largest number in a header, such as a length in mm."""
SMALLEST = 1e-7
"""A distance between pixels or slices must be greater than this, in mm."""
UNDEFINED = 0xFFFFFFFF
ITEM = b"\xfe\xff\x00\xe0"
MOST_READS, MOST_ITEMS = 400_000, 200_000
"""Largest number of reads of a file (two or three per element) and of items of a sequence: enough for 10,000 frames."""
FIRST_PIXELS, LAST_PIXELS = 0x7FE00008, 0x7FE00010
"""The tags of the elements that hold pixels; a header ends before them."""
DEFLATED, LARGEST_DEFLATED = b"1.2.840.10008.1.2.1.99", 2**28

DIRECTORY = "1.2.840.10008.1.3.10"
NUCLEAR = "1.2.840.10008.5.1.4.1.1.20"
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
NOT_CALLED_IMAGES = (DOSE, PARAMETRIC_MAP, *SEGMENTATIONS)
"""Classes of objects with pixels whose names do not say "Image Storage"."""

Elements: TypeAlias = "Dataset | dict[str, Any]"
"""The elements of a file or of an item of a sequence, by keyword."""


def read_dataset(path: Path, keywords: list[str], pixels: bool = False) -> Dataset:
    """The elements with these keywords as a `pydicom.Dataset`; the file may lack the DICOM mark.

    Raises:
        AcregError: an element claims more bytes than are left; an element occurs twice, which programs read
            differently; or sequences are nested too deeply.
    """
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_partial

    wanted: dict[int, str] = {tag_for_keyword(keyword) or 0: keyword for keyword in keywords}
    found: list[int] = []
    deflated = _check_deflated(path)

    def stop(tag: int, representation: str | None, length: int) -> bool:
        if tag > LAST_PIXELS or (not pixels and tag >= FIRST_PIXELS):
            return True
        left = content.end - content.tell()
        if not deflated and left < length != UNDEFINED:
            raise AcregError(
                f"The file must be a whole DICOM image. Received: {path}, whose element ({tag >> 16:04x},"
                f"{tag & 0xFFFF:04x}) claims {length} bytes, where {left} are left. It is cut off or damaged; get the "
                "file again."
            )
        if tag in found[1:]:  # pydicom may ask twice about the first
            raise AcregError(
                f"An element is in a DICOM header once. Received: {path} with two of {title(wanted[tag])}. The header "
                "is damaged; get the file again."
            )
        if tag in wanted:
            found.append(tag)
        return False

    with _Bounded(path) as content:
        try:
            dataset = read_partial(content, stop, force=True, specific_tags=list(wanted))
        except RecursionError:
            raise AcregError(
                f"The sequences of a DICOM header nest a few times. Received: {path}, where they nest hundreds of "
                "times. The file is damaged; get it again."
            ) from None
        except Exception as error:
            if content.reads > MOST_READS:
                raise too_many(path) from error
            raise
    if content.reads > MOST_READS:
        raise too_many(path)
    return dataset


def read_header(path: Path) -> Dataset:
    """The header of a file that may hold an image; raises `AcregError` if it is not DICOM."""
    header = read_dataset(path, HEADER)
    if not text(header, "SOPClassUID") and "Rows" not in header and not _media_class(header):
        raise AcregError(
            f"The file must be a whole DICOM image. Received: {path}, in which no DICOM header is found. It is cut "
            "off, damaged, or of another kind than its name says; get the file again or convert it."
        )
    return header


def object_class(header: Dataset) -> str:
    """The UID of the kind of object in a file."""
    return text(header, "SOPClassUID") or _media_class(header)


def class_name(header: Dataset) -> str:
    """The name of the class in the DICOM dictionary, such as "RT Structure Set Storage"."""
    from pydicom.uid import UID

    return UID(object_class(header)).name


def may_be_image(header: Dataset) -> bool:
    """Whether the class is an image class, or a private class with rows; not a plan, structure set or report."""
    known, name = object_class(header), class_name(header)
    return "Image Storage" in name or known in NOT_CALLED_IMAGES or (name == known and "Rows" in header)


def check_image(header: Dataset, path: Path) -> None:
    """Raise `AcregError` for an object that holds no image, or an incomplete one."""
    if may_be_image(header):
        missing = [name for name in ("Rows", "Columns", "BitsAllocated") if name not in header]
        if missing:
            raise AcregError(
                f"The file must be a whole DICOM image. Received: {path} without {title(missing[0])}. It is cut off, "
                "damaged, or holds no image; get the file again."
            )
        return
    advice = {
        DIRECTORY: "It is the list of the files on a disc: name the file, or the folder, of the images.",
        STRUCTURES: "Its contours become labels in another program: export them from 3D Slicer as a label map.",
    }
    raise AcregError(
        f"A DICOM file is read if it holds an image. Received: {path}, whose class is {class_name(header)}. "
        f"{advice.get(object_class(header), 'Name the file, or the folder, of the images.')}"
    )


def title(keyword: str) -> str:
    """The name of an element in messages, such as "Pixel Spacing (0028,0030)"."""
    from pydicom.datadict import dictionary_description, tag_for_keyword

    tag: Any = tag_for_keyword(keyword)
    if tag is None:
        return keyword
    return f"{dictionary_description(tag)} ({tag >> 16:04x},{tag & 0xFFFF:04x})"


def text(data: Elements, keyword: str) -> str:
    """The value of an element on one line; empty if it is absent or cannot be decoded."""
    try:
        value = data.get(keyword)
        words = " ".join(str("" if value is None else value).strip("\0").split())
        return "".join(letter if letter.isprintable() else "?" for letter in words)
    except Exception:  # pydicom raises many types of error
        return ""


def pointed_at(item: Dataset) -> str:
    """The keyword of the element to which a dimension item points, or its tag if it is private."""
    from pydicom.datadict import keyword_for_tag

    tag = item.get("DimensionIndexPointer")
    return (keyword_for_tag(tag) or str(tag)) if isinstance(tag, int) else ""


def numbers(data: Dataset, keyword: str, count: int, path: Path, above: float = -np.inf) -> np.ndarray | None:
    """The numbers of an element; None if it is absent or empty.

    Args:
        data: the dataset or the item of a sequence.
        keyword: DICOM's keyword.
        count: the required number of values; 0 for any number.
        path: named in messages.
        above: each number must be greater than this, which is 0 or close to it.

    Raises:
        AcregError: there are other values, such as words, NaN, infinite or huge numbers, or another number of values.
    """
    if keyword not in data:
        return None
    try:
        value = data[keyword].value
        if value is None or (not isinstance(value, (int, float)) and len(value) == 0):
            return None
        values = np.atleast_1d(np.array(value, dtype=float))
    except Exception:
        value, values = data.get_item(keyword).value, np.array([np.nan])
    if (count and values.shape != (count,)) or not (np.abs(values) <= LARGEST).all() or not (values > above).all():
        kind = "" if np.isinf(above) else "positive "
        wanted = f"a {kind}number" if count == 1 else f"{count or ''} {kind}numbers".strip()
        shown = " ".join((value.decode("latin-1") if isinstance(value, bytes) else str(value)).split())[:100]
        raise AcregError(
            f"{title(keyword)} is {wanted}. Received: {path} with {shown!r}. The header is damaged or wrong; get the "
            "file again, or correct it."
        )
    return values


def whole_number(data: Dataset, keyword: str, path: Path, default: int | None = None, least: int = 0) -> int:
    """The integer of an element, `default` if it is absent; raises `AcregError` for other values and below `least`."""
    values = numbers(data, keyword, 1, path)
    if values is None and default is not None:
        return default
    if values is None or values[0] != int(values[0]) or values[0] < least:
        raise AcregError(
            f"{title(keyword)} of a DICOM image is a whole number, {least} or more. Received: {path} "
            f"{'without it' if values is None else f'with {values[0]:g}'}. The header is damaged; get the file again."
        )
    return int(values[0])


def items(data: Elements, keyword: str) -> list[Dataset]:
    """The items of a sequence; none if it is absent."""
    if isinstance(data, dict):
        return list(data.get(keyword, []))
    raw = getattr(data.get_item(keyword), "value", None) if keyword in data else None
    if isinstance(raw, bytes) and raw.count(ITEM) > MOST_ITEMS:
        raise too_many(keyword)
    found = data.get(keyword)
    return [] if found is None else list(found)


class _Bounded(io.BufferedReader):
    """A file from which no more is read than it has, whatever an element claims: Python would allocate memory first."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.end, self.reads = path.stat().st_size, 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise EOFError
        left = max(self.end - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def too_many(where: Path | str) -> AcregError:
    """The error for data that are not a header and would take minutes to read."""
    return AcregError(
        f"The header of a DICOM image has at most some hundred thousand elements. Received: more in {where}. The file "
        "is damaged; get it again."
    )


def _media_class(header: Dataset) -> str:
    return text(getattr(header, "file_meta", {}), "MediaStorageSOPClassUID")


def _check_deflated(path: Path) -> bool:
    """Whether the dataset is compressed as a whole; raises `AcregError` if it decompresses to too many bytes."""
    with path.open("rb") as file:
        head = file.read(2**12)
        if DEFLATED not in head or not has_mark(path, DICOM):
            return False
        file.seek(144 + int.from_bytes(head[140:144], "little"))
        inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while (part := inflate.unconsumed_tail or file.read(2**16)) and size <= LARGEST_DEFLATED:
            size += len(inflate.decompress(part, 2**20))
    if size > LARGEST_DEFLATED:
        raise AcregError(
            f"A deflated DICOM file unpacks to at most {LARGEST_DEFLATED // 2**20} MiB. Received: {path}. Save it "
            "uncompressed."
        )
    return True
