"""The positions of the frames of DICOM files, the meaning of their values, and the volume that they form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.dicom.groups import ALIKE, Groups, pixel_spacing, plane_directions, slice_thickness, value_scaling
from acreg.io.dicom.header import (
    DOSE,
    NUCLEAR,
    SEGMENTATIONS,
    class_name,
    items,
    numbers,
    object_class,
    pointed_at,
    text,
    title,
)
from acreg.io.dicom.pixels import frame_shape

if TYPE_CHECKING:
    from pydicom import Dataset

UNEVEN = 0.1
"""Largest deviation of a slice from its position in an evenly spaced stack, in slice distances."""
MOST, MOST_OF_SEGMENTS = 5000, 100_000
"""Largest number of frames of a file: of a volume, and of a segmentation, which has one frame per segment and plane."""
SHARED = (
    ("", "FrameOfReferenceUID"),
    ("", "TemporalPositionIdentifier"),
    ("", "EchoNumbers"),
    ("", "Units"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "StackID"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("PixelValueTransformationSequence", "RescaleType"),
)
"""What the frames of one volume have in common: functional group ("" for an element of the file) and element."""
PLACES = (
    "ImagePositionPatient",
    "PlanePositionSequence",
    "InStackPositionNumber",
    "StackID",
    "ReferencedSegmentNumber",
)
"""Dimensions that give the position of frames or distinguish segments."""


@dataclass(frozen=True)
class Frame:
    """A plane of pixels.

    Args:
        path: the file.
        index: index of the frame in the file.
        size: rows, columns.
        spacing: mm between rows and between columns; None if the caller gives it instead of the file.
        position: `(3,)`, centre of the first pixel, LPS (x, y, z) in mm; None if the file does not give it.
        directions: `(2, 3)`, unit vectors along a row and along a column, LPS; None if the file does not give them.
        scaling: slope and intercept that convert stored values.
        shared: the properties that must be the same in all frames of a volume, by name.
        dimensions: indices along the dimensions by which the file sorts its frames, except positions, by keyword.
        segment: the number of its segment, 0 in images.
        thickness: mm to the next slice, or thickness of this one, if the file gives either; otherwise 1.
    """

    path: Path
    index: int
    size: tuple[int, int]
    spacing: tuple[float, float] | None
    position: np.ndarray | None
    directions: np.ndarray | None
    scaling: tuple[float, float] = (1.0, 0.0)
    shared: dict[str, str] = field(default_factory=dict)
    dimensions: dict[str, str] = field(default_factory=dict)
    segment: int = 0
    thickness: float = 1.0


def read_frames(path: Path, header: Dataset, needs_spacing: bool = True) -> list[Frame]:
    """The frames of a file in stored order.

    Raises:
        AcregError: an element that gives positions or scales values is not a number, contradicts another element or has
            an unsupported value; or there is no spacing although it is needed.
    """
    count, *size = frame_shape(header, path)
    if "MOSAIC" in text(header, "ImageType"):
        raise AcregError(
            f"A frame of a DICOM file holds one slice. Received: {path}, a mosaic (Image Type), in which the slices of "
            "a volume lie side by side. Convert it to NIfTI with dcm2niix."
        )
    shared = Groups.shared(path, header)
    own = items(header, "PerFrameFunctionalGroupsSequence")
    if own and len(own) != count:
        raise AcregError(
            f"Each frame has its item in {title('PerFrameFunctionalGroupsSequence')}. Received: {path} with "
            f"{len(own)} items and {count} frames. The header is damaged; get the file again."
        )
    most = MOST_OF_SEGMENTS if object_class(header) in SEGMENTATIONS else MOST
    if count > most:
        raise AcregError(
            f"A volume has at most {most} frames. Received: {path} with {count}. They are of several volumes: convert "
            "these to NIfTI one by one with another program."
        )
    offsets = _plane_offsets(path, header, count)
    if count > 1 and not own and offsets is None:
        raise AcregError(
            "The frames of a file make a volume if each says where it lies. Received: "
            f"{path}, {class_name(header)}, with {count} frames without places (of a film, perhaps). Save one frame "
            "as a file, or convert the volume to NIfTI with another program."
        )
    named = {title(keyword): (sequence, keyword) for sequence, keyword in SHARED}
    pointers = [pointed_at(item) for item in items(header, "DimensionIndexSequence")]
    groups = [shared.of_frame(item) for item in own] or [shared] * count
    frames = []
    for index, group in enumerate(groups):
        position = group.numbers("PlanePositionSequence", "ImagePositionPatient", 3)
        directions = plane_directions(group)
        if offsets is not None and position is not None and directions is not None:
            position = position + offsets[index] * np.cross(*directions)
        segment = group.numbers("SegmentIdentificationSequence", "ReferencedSegmentNumber", 1)
        frames.append(
            Frame(
                path,
                index,
                (size[0], size[1]),
                pixel_spacing(group, needs_spacing),
                position,
                directions,
                value_scaling(group),
                {words: group.text(*names) for words, names in named.items()},
                _dimensions(group, pointers),
                0 if segment is None else int(segment[0]),
                slice_thickness(group),
            )
        )
    return frames


def stack(frames: Sequence[Frame], where: str) -> tuple[list[Frame], Grid]:
    """The frames sorted by position, and the grid of the volume that they form.

    The axis along the slices is the line through their positions, so that a tilted gantry gives a sheared grid.

    Args:
        frames: two or more.
        where: their name in messages.

    Raises:
        AcregError: the frames do not form a volume: they have no positions, several have the same position, some are
            missing, distances, sizes, spacings or directions differ, or they belong to several times or stacks.
    """
    check_alike(frames, where)
    normal = np.cross(*frames[0].directions)  # type: ignore[misc]
    ordered = sorted(frames, key=lambda one: float(normal @ one.position))
    positions = np.array([one.position for one in ordered])
    distances = np.diff(positions @ normal)
    usual = float(np.median(distances))
    if usual <= 0 or distances.min() < 0.01 * usual:
        twin = int(np.argmin(distances))
        raise AcregError(
            f"The slices of a series lie at different places. Received: {where}, where {_name(ordered[twin])} and "
            f"{_name(ordered[twin + 1])} lie at one (several times or contrasts?). Keep the slices of one volume only, "
            "or convert the volumes to NIfTI one by one with another program."
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    off = np.linalg.norm(positions - positions[0] - np.arange(len(positions))[:, None] * step, axis=1)
    if off.max() > UNEVEN * np.linalg.norm(step):
        gap = int(np.argmax(np.abs(distances - usual)))
        raise AcregError(
            f"The slices of a series lie at equal distances, without gaps. Received: {where} with {distances[gap]:.4g} "
            f"mm between {_name(ordered[gap])} and {_name(ordered[gap + 1])}, where {usual:.4g} mm is usual. Add "
            "the slices that are missing, or resample the series with another program."
        )
    return ordered, volume_grid(ordered[0], len(ordered), step)


def volume_grid(first: Frame, count: int, step: np.ndarray) -> Grid:
    """The grid of `count` planes, each at the offset `step` (LPS, mm) from the previous one."""
    distance = float(np.linalg.norm(step))
    lps = np.stack([*first.directions, step / distance], axis=1)  # type: ignore[misc]  # along the x, y, z indices
    spacing = (distance, *(first.spacing or (1.0, 1.0)))
    return Grid((count, *first.size), spacing, tuple(first.position[::-1]), lps[::-1, ::-1])  # type: ignore[arg-type, index]


def plane_grid(frame: Frame) -> Grid:
    """The 2-D grid of a single frame, with its plane in the patient if the file gives its position."""
    if frame.position is None or frame.directions is None:
        return Grid(frame.size, frame.spacing or (1.0, 1.0))
    return volume_grid(frame, 1, np.cross(*frame.directions) * frame.thickness).slice()


def _name(frame: Frame) -> str:
    return frame.path.name if frame.index == 0 else f"frame {frame.index + 1} of {frame.path.name}"


def check_alike(frames: Sequence[Frame], where: str) -> None:
    """Raise `AcregError` unless all frames have positions and the properties that frames of one volume share."""
    bare = next((one for one in frames if one.position is None or one.directions is None), None)
    if bare is not None:
        raise AcregError(
            "The slices of a series have a position and an orientation (tags 0020,0032 and 0020,0037). Received: "
            f"{where}, where {_name(bare)} lacks them. Name a file of one slice to read it as a 2-D image; of several "
            "frames in a file save one, or convert the volume to NIfTI with another program."
        )
    sizes = sorted({one.size[::-1] for one in frames})
    spacings = np.array([(one.spacing or (1, 1))[::-1] for one in frames])
    if len(sizes) > 1 or (np.ptp(spacings, axis=0) > ALIKE * spacings.min(axis=0)).any():
        raise AcregError(
            f"The slices of a series have one size and one spacing. Received: {where} with sizes {sizes} "
            f"and spacings {spacings.min(axis=0).tolist()} to {spacings.max(axis=0).tolist()} mm. Keep the files of "
            "one volume in the folder."
        )
    directions = np.array([one.directions for one in frames])
    if np.ptp(directions, axis=0).max() > ALIKE:
        raise AcregError(
            f"The slices of a series are parallel. Received: {where} with slices in several directions (localisers?). "
            "Keep the files of one volume in the folder."
        )
    for what in frames[0].shared:
        found = sorted({one.shared[what] for one in frames})
        if len(found) > 1:
            raise AcregError(
                f"The slices of a volume have one {what}. Received: {where} with "
                f"{', '.join(word or 'none' for word in found[:5])}. They belong to several volumes: keep the slices "
                "of one, or convert the volumes to NIfTI one by one with another program."
            )
    for what in frames[0].dimensions:
        found = sorted({one.dimensions.get(what, "") for one in frames})
        if 1 < len(found) < len(frames):  # an index that differs for each frame only counts the frames
            raise AcregError(
                f"The frames of a volume differ in their places only. Received: {where}, where they differ in "
                f"{title(what)}, too ({len(found)} values). They belong to several volumes: convert these to NIfTI one "
                "by one with another program."
            )


def _dimensions(group: Groups, pointers: Sequence[str]) -> dict[str, str]:
    """The indices of a frame along the dimensions that are not positions."""
    indices = group.numbers("FrameContentSequence", "DimensionIndexValues", 0) if pointers else None
    if indices is None or len(indices) != len(pointers):
        return {}
    return {what: f"{index:g}" for what, index in zip(pointers, indices, strict=True) if what not in PLACES}


def _plane_offsets(path: Path, header: Dataset, count: int) -> np.ndarray | None:
    """Distances of the planes from the first in mm along the normal, for objects that give them; otherwise None."""
    if count > 1 and object_class(header) == DOSE:
        return _dose_offsets(path, header, count)
    if count > 1 and object_class(header) == NUCLEAR and "RECON TOMO" in text(header, "ImageType"):
        between = numbers(header, "SpacingBetweenSlices", 1, path)
        places = numbers(header, "SliceVector", count, path)
        if between is None or places is None:
            raise AcregError(
                f"The slices of a tomogram of nuclear medicine lie where {title('SliceVector')} and "
                f"{title('SpacingBetweenSlices')} say. Received: {path}, which lacks one of them. Convert it to NIfTI "
                "with another program."
            )
        return (places - 1) * between  # negative: against the normal
    return None


def _dose_offsets(path: Path, header: Dataset, count: int) -> np.ndarray:
    offsets = numbers(header, "GridFrameOffsetVector", count, path)
    if offsets is None:
        raise AcregError(
            f"The planes of a dose lie where {title('GridFrameOffsetVector')} says. Received: {path} without it. Get "
            "the file again."
        )
    position = numbers(header, "ImagePositionPatient", 3, path)
    directions = numbers(header, "ImageOrientationPatient", 6, path)
    if abs(offsets[0]) <= ALIKE:
        return offsets
    if position is not None and directions is not None and abs(offsets[0] - position[2]) <= ALIKE:
        normal = np.cross(*directions.reshape(2, 3))
        if abs(abs(normal[2]) - 1) <= ALIKE:  # z of the planes, in axial ones
            return (offsets - offsets[0]) * np.sign(normal[2])
    raise AcregError(
        f"{title('GridFrameOffsetVector')} begins with 0, or holds the z of axial planes. Received: {path} with "
        f"{offsets[0]:g} first. The header is damaged; get the file again."
    )
