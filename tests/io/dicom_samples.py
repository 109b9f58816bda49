"""DICOM files made with pydicom: good ones of all kinds, and hostile ones that must be refused or read right."""

from __future__ import annotations

import copy
import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pack_bits
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, UID_dictionary

from acreg.errors import AcregError
from acreg.io import read_image

CLASSES = {entry[4]: UID(uid) for uid, entry in UID_dictionary.items()}
CLASSES["LabelMapSegmentationStorage"] = UID("1.2.840.10008.5.1.4.1.1.66.7")  # younger than pydicom 3.0
"""SOP classes by keyword: `CTImageStorage`."""
AXIAL = [1, 0, 0, 0, 1, 0]
SPACING = [1.2, 0.7]


def image(array, sop="CTImageStorage", modality="CT", **elements) -> FileDataset:
    """A DICOM image of `(rows, columns)` or `(frames, rows, columns)`, bool for 1 bit, as stored.

    `elements` add to or replace what it has, by keyword: None leaves one out, bytes are written as they are.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CLASSES[sop]
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2.3.4.5", ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = CLASSES[sop], "1.2.3.4.5", modality
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.4.6"
    made.ImagePositionPatient, made.ImageOrientationPatient, made.PixelSpacing = [0, 0, 0], AXIAL, SPACING
    if array is not None:
        bits = 1 if array.dtype == bool else array.dtype.itemsize * 8
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.Rows, made.Columns = array.shape[-2:]
        if array.ndim == 3:
            made.NumberOfFrames = len(array)
        made.BitsAllocated = made.BitsStored = bits
        made.HighBit, made.PixelRepresentation = bits - 1, int(array.dtype.kind == "i")
        made.PixelData = pack_bits(array.astype(np.uint8)) if bits == 1 else array.tobytes()
    return changed(made, **elements)


def changed(dataset, **elements):
    """The dataset with other elements, see `image`; changed in place."""
    for keyword, value in elements.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        elif isinstance(value, bytes) and keyword != "PixelData":
            tag, value = Tag(tag_for_keyword(keyword)), value + b" " * (len(value) % 2)
            dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
        else:
            setattr(dataset, keyword, value)
    return dataset


def item(**elements) -> list[Dataset]:
    """A sequence of one item."""
    return [changed(Dataset(), **elements)]


def shared_groups(**elements) -> list[Dataset]:
    """Functional groups of all frames: spacing and orientation, and what else is given."""
    return item(
        **{
            "PixelMeasuresSequence": item(PixelSpacing=SPACING, SliceThickness=2.5),
            "PlaneOrientationSequence": item(ImageOrientationPatient=AXIAL),
            **elements,
        }
    )


def frame_group(position, **elements) -> Dataset:
    """The functional groups of a frame at a position (x, y, z)."""
    place = {} if position is None else {"PlanePositionSequence": item(ImagePositionPatient=list(position))}
    return item(**place, **elements)[0]


def enhanced(array, positions, sop="EnhancedCTImageStorage", shared=None, own=None, **elements) -> FileDataset:
    """A multi-frame image: frame `k` at `positions[k]`, with the functional groups `own[k]` and those shared."""
    own = [{}] * len(array) if own is None else own
    groups = [frame_group(position, **more) for position, more in zip(positions, own, strict=True)]
    bare = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    return image(
        array,
        sop,
        **bare,
        **{
            "SharedFunctionalGroupsSequence": shared_groups(**(shared or {})),
            "PerFrameFunctionalGroupsSequence": groups,
            **elements,
        },
    )


def segmentation(frames, positions, segments, kind="BINARY", between=None, names=None, **elements) -> FileDataset:
    """A DICOM segmentation: frame `k` is of segment `segments[k]`, at `positions[k]`."""
    measures = {"PixelSpacing": SPACING, **({} if between is None else {"SpacingBetweenSlices": between})}
    own = [{"SegmentIdentificationSequence": item(ReferencedSegmentNumber=number)} for number in segments]
    listed = sorted(set(segments)) if names is None else names
    return enhanced(
        frames,
        positions,
        "LabelMapSegmentationStorage" if kind == "LABELMAP" else "SegmentationStorage",
        {"PixelMeasuresSequence": item(**measures)},
        [{}] * len(frames) if kind == "LABELMAP" else own,
        Modality="SEG",
        SegmentationType=kind,
        SegmentSequence=[item(SegmentNumber=number, SegmentLabel=str(number))[0] for number in listed],
        **elements,
    )


def save(dataset, path: Path) -> Path:
    """Write a dataset; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_series(folder: Path, volume, positions=None, **elements) -> None:
    """Write `(z, rows, columns)` as single files, 3 mm apart along z by default."""
    for k, plane in enumerate(volume):
        position = [0, 0, 3 * k] if positions is None else positions[k]
        save(image(plane, ImagePositionPatient=position, SOPInstanceUID=f"1.2.9.{k}", **elements), folder / f"{k}.dcm")


def read(dataset, folder: Path, **options):
    """What `read_image` makes of a dataset."""
    return read_image(save(dataset, folder / "a.dcm"), **options)


def refused(dataset, folder: Path, message: str, **options) -> None:
    """Check that `read_image` refuses a dataset in one paragraph that names the file."""
    path = save(dataset, folder / "a.dcm")
    with pytest.raises(AcregError, match=message) as caught:
        read_image(path, **options)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- hostile files ----------------------------------------------------------------------------------------------------


def nested(depth: int, defined: bool, tag=(0x0008, 0x1140), kind=b"SQ") -> bytes:
    """The bytes of a sequence in a sequence in a sequence."""
    head = struct.pack("<HH", *tag) + kind + bytes(2)
    if not defined:
        start, end = head + b"\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0" + bytes(4)
        return start * depth + (end + b"\xfe\xff\xdd\xe0" + bytes(4)) * depth
    lengths = [20 * level for level in range(depth)]
    return b"".join(
        head + struct.pack("<I", inside + 8) + b"\xfe\xff\x00\xe0" + struct.pack("<I", inside)
        for inside in reversed(lengths)
    )


def insert(content: bytes, elements: bytes, before: bytes = b"\x08\x00\x60\x00CS") -> bytes:
    """The bytes of a DICOM file with elements added in front of the one that begins with `before` (Modality)."""
    at = content.index(before)
    return content[:at] + elements + content[at:]


def hostile_dicom(folder: Path) -> list[Path]:
    """Files that lie about their size, nest without end, or claim memory: each is read right or refused."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 2**12, (24, 20)).astype(np.uint16)
    volume = rng.integers(0, 2**12, (4, 24, 20)).astype(np.uint16)
    places = [(0, 0, 2.5 * k) for k in range(4)]
    files = [
        save(image(plane, **lie), folder / f"dicom_{'_'.join(lie)}_{'_'.join(map(str, lie.values()))}.dcm")
        for lie in LIES
    ]
    for name, lie in (("frames", {"NumberOfFrames": 400}), ("rows", {"Rows": 6000}), ("zero", {"NumberOfFrames": 0})):
        files.append(save(enhanced(volume, places, **lie), folder / f"dicom_enhanced_{name}.dcm"))
    files += _compressed_lies(folder, volume)
    good = save(image(plane), folder / "dicom_good.dcm").read_bytes()
    deep = {
        "undefined": nested(10_000, defined=False),
        "defined": nested(10_000, defined=True),
        "private": nested(10_000, False, (0x0009, 0x1010)),
        "unknown": nested(10_000, False, (0x0009, 0x1010), b"UN"),
        "groups": nested(10_000, True, (0x5200, 0x9229)),
        "shallow": nested(30, defined=False),
    }
    for name, elements in deep.items():
        (folder / f"dicom_nested_{name}.dcm").write_bytes(insert(good, elements))
    # As read without the sequence as an element of a volume that needs it.
    groups = save(enhanced(volume, places), folder / "dicom_enhanced_good.dcm").read_bytes()
    at = groups.index(b"\x00\x52\x29\x92SQ")
    (folder / "dicom_nested_in_groups.dcm").write_bytes(
        groups[:at] + nested(10_000, True, (0x5200, 0x9229)) + groups[at:]
    )
    slope = insert(good, b"\x28\x00\x53\x10UN\x00\x00\xf0\xff\xff\xff", b"\xe0\x7f\x10\x00")
    (folder / "dicom_claims_gigabytes.dcm").write_bytes(slope)
    for share in (0.3, 0.7, 0.99):
        (folder / f"dicom_cut_{share}.dcm").write_bytes(good[: int(share * len(good))])
    (folder / "dicom_no_preamble.dcm").write_bytes(good[132:])
    (folder / "dicom_text.dcm").write_text("This is not a DICOM file.\n" * 20)
    (folder / "dicom_zeros.dcm").write_bytes(bytes(5000))
    (folder / "dicom_mark_only.dcm").write_bytes(bytes(128) + b"DICM")
    return sorted(folder.glob("dicom_*.dcm"))


LIES = (
    {"Rows": 48},
    {"Rows": 12},
    {"Rows": 0},
    {"Rows": 65535, "Columns": 65535},
    {"Columns": 2000},
    {"NumberOfFrames": 2},
    {"NumberOfFrames": 0},
    {"NumberOfFrames": 2_000_000_000},
    {"NumberOfFrames": -1},
    {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
    {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
    {"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11},
    {"BitsAllocated": 0},
    {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0},
    {"BitsStored": 17, "HighBit": 16},
    {"BitsStored": 0},
    {"BitsStored": 12, "HighBit": 15},
    {"PixelRepresentation": 7},
    {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
    {"SamplesPerPixel": 3},
    {"SamplesPerPixel": 0},
    {"PhotometricInterpretation": "PALETTE COLOR"},
    {"PhotometricInterpretation": "HSV"},
    {"PixelData": b""},
    {"PixelData": None},
    {"Rows": None},
    {"BitsAllocated": None},
    {"PixelRepresentation": None},
)
"""What a header says of pixels that are not there, are more than it says, or are of another kind."""


def _compressed_lies(folder: Path, volume) -> list[Path]:
    """JPEG, JPEG 2000 and RLE whose streams are smaller than the header's image, cut off, fewer, or none."""
    import io

    import PIL.Image
    import SimpleITK as sitk

    made = []
    jpeg = io.BytesIO()
    PIL.Image.fromarray((volume[0] >> 4).astype(np.uint8)).save(jpeg, "jpeg")
    file = folder / "jpeg2000_source.dcm"
    sitk.WriteImage(sitk.GetImageFromArray(np.tile(volume[0], (4, 4))[None]), str(file), useCompression=True)
    from pydicom import dcmread
    from pydicom.encaps import generate_frames

    source = dcmread(file)
    syntax = source.file_meta.TransferSyntaxUID
    stream = next(iter(generate_frames(source.PixelData, number_of_frames=1)))
    file.unlink()
    byte, word = (volume[0] >> 4).astype(np.uint8), np.tile(volume[0], (4, 4))
    kinds = {
        "jpeg": (image(byte, SpecificCharacterSet="ISO_IR 100"), JPEGBaseline8Bit, jpeg.getvalue()),
        "jpeg2000": (image(word), syntax if syntax.is_compressed else JPEG2000Lossless, stream),
    }
    for name, (base, uid, frame) in kinds.items():
        for what, lie in {
            "good": {},
            "rows": {"Rows": base.Rows * 2},
            "columns": {"Columns": 4000},
            "frames": {"NumberOfFrames": 2},
            "cut": {"frame": frame[: len(frame) // 2]},
            "end": {"frame": frame[: len(frame) // 2] + b"\xff\xd9"},
            "none": {"frame": b"\xff\xd8\xff\xd9"},
            "samples": {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0},
        }.items():
            dataset = copy.deepcopy(base)
            dataset.file_meta.TransferSyntaxUID = uid
            dataset.PixelData = encapsulate([lie.pop("frame", frame)])
            dataset["PixelData"].is_undefined_length = True
            made.append(save(changed(dataset, **lie), folder / f"dicom_{name}_{what}.dcm"))
    packed = image(volume[0])
    packed.compress(RLELossless)
    for what, lie in {
        "good": {},
        "rows": {"Rows": 480},
        "frames": {"NumberOfFrames": 3},
        "cut": {"PixelData": encapsulate([next(iter(generate_frames(packed.PixelData, number_of_frames=1)))[:200]])},
    }.items():
        dataset = changed(copy.deepcopy(packed), **lie)
        dataset["PixelData"].is_undefined_length = True
        made.append(save(dataset, folder / f"dicom_rle_{what}.dcm"))
    return made
