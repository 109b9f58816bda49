"""Where the frames of DICOM files lie and what their values mean, and the volume that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.dicom_header import (
    DOSE,
    PARAMETRIC_MAP,
    class_name,
    items,
    numbers,
    object_class,
    text,
    title,
)
from acreg.io.dicom_pixels import frame_shape

UNEVEN = 0.1
"""Slice distances by which a slice may lie off its place in an even stack."""
ALIKE = 1e-3
"""By which directions may differ from unit vectors at right angles and from each other, and spacings relatively."""
SHARED = (
    ("", "FrameOfReferenceUID"),
    ("", "TemporalPositionIdentifier"),
    ("", "EchoNumbers"),
    ("", "DiffusionBValue"),
    ("", "Units"),
    ("", "RescaleType"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "StackID"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("PixelValueTransformationSequence", "RescaleType"),
)
"""What the frames of one volume have in common: functional group ("" for the file) and element."""


@dataclass(frozen=True)
class Frame:
    """A plane of pixels.

    Args:
        path: the file.
        index: which of its frames.
        size: rows, columns.
        spacing: mm between rows, between columns; None if the file does not say and the caller does.
        position: `(3,)`, centre of the first pixel, LPS (x, y, z) in mm; None if the file does not say.
        directions: `(2, 3)`, unit vectors along a row and along a column, LPS; None if the file does not say.
        scaling: slope and intercept that make values of what is stored.
        shared: what must be the same in all frames of a volume.
        segment: the number of its segment, 0 in images.
    """

    path: Path
    index: int
    size: tuple[int, int]
    spacing: tuple[float, float] | None
    position: np.ndarray | None
    directions: np.ndarray | None
    scaling: tuple[float, float] = (1.0, 0.0)
    shared: tuple[str, ...] = ()
    segment: int = 0


def read_frames(path: Path, header: Any, needs_spacing: bool = True) -> list[Frame]:
    """The frames of a file in its order.

    Raises:
        AcregError: an element that places frames or scales values is no number, contradicts another, or says what is
            not read; there is no spacing although it is needed.
    """
    count, *size = frame_shape(header, path)
    shared = Groups.shared(path, header)
    own = items(header, "PerFrameFunctionalGroupsSequence")
    if own and len(own) != count:
        raise AcregError(
            f"Each frame has its item in {title('PerFrameFunctionalGroupsSequence')}. Received: {path} with "
            f"{len(own)} items and {count} frames. The header is damaged; get the file again."
        )
    if count > 1 and not own and object_class(header) != DOSE:
        raise AcregError(
            "The frames of a file make a volume if each says where it lies. Received: "
            f"{path}, {class_name(header)}, with {count} frames without places (of a film, perhaps). Save one frame "
            "as a file, or convert the volume to NIfTI with another program."
        )
    offsets = _dose_offsets(path, header, count)
    groups = [shared.of_frame(item) for item in own] or [shared] * count
    frames = []
    for index, group in enumerate(groups):
        position = group.numbers("PlanePositionSequence", "ImagePositionPatient", 3)
        directions = _directions(group)
        if offsets[index] and position is not None and directions is not None:
            position = position + offsets[index] * np.cross(*directions)
        segment = group.numbers("SegmentIdentificationSequence", "ReferencedSegmentNumber", 1)
        frames.append(
            Frame(
                path,
                index,
                (size[0], size[1]),
                _spacing(group, needs_spacing),
                position,
                directions,
                _scaling(group),
                tuple(group.text(*names) for names in SHARED),
                0 if segment is None else int(segment[0]),
            )
        )
    return frames


def stack(frames: Sequence[Frame], where: str) -> tuple[list[Frame], Grid]:
    """The frames in the order of their positions, and the grid of the volume that they make.

    The axis along the slices is the line through their positions, so that a tilted gantry gives a sheared grid.

    Args:
        frames: two or more.
        where: what messages call them.

    Raises:
        AcregError: frames that make no volume: without places, several at one place, missing ones, unequal distances,
            sizes, spacings or directions, of several times or stacks.
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
    """The grid of `count` planes of which each lies `step` (LPS, mm) after the one before."""
    distance = float(np.linalg.norm(step))
    lps = np.stack([*first.directions, step / distance], axis=1)  # type: ignore[misc]  # along the x, y, z indices
    spacing = (distance, *(first.spacing or (1.0, 1.0)))
    return Grid((count, *first.size), spacing, tuple(first.position[::-1]), lps[::-1, ::-1])  # type: ignore[arg-type, index]


def plane_grid(frame: Frame) -> Grid:
    """The grid of a single frame, 2-D: directions that lean out of the x-y plane become the identity."""
    origin = (0.0, 0.0) if frame.position is None else tuple(frame.position[1::-1])
    direction = np.eye(2) if frame.directions is None else frame.directions[:, :2].T[::-1, ::-1]
    if np.abs(np.linalg.norm(direction, axis=0) - 1).max() > ALIKE:
        direction = np.eye(2)
    return Grid(frame.size, frame.spacing or (1.0, 1.0), origin, direction)  # type: ignore[arg-type]


def _name(frame: Frame) -> str:
    return frame.path.name if frame.index == 0 else f"frame {frame.index + 1} of {frame.path.name}"


def check_alike(frames: Sequence[Frame], where: str) -> None:
    """Raise `AcregError` unless frames have places, and what those of one volume have in common."""
    bare = next((one for one in frames if one.position is None or one.directions is None), None)
    if bare is not None:
        raise AcregError(
            "The slices of a series have a position and an orientation (tags 0020,0032 and 0020,0037). Received: "
            f"{where}, where {_name(bare)} lacks them. Name a file of one slice to read it as a 2-D image; of several "
            "frames in a file save one, or convert the volume to NIfTI with another program."
        )
    sizes, spacings = sorted({one.size[::-1] for one in frames}), np.array([one.spacing or (1, 1) for one in frames])
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
    for place, (_, keyword) in enumerate(SHARED):
        found = sorted({one.shared[place] for one in frames})
        if len(found) > 1:
            raise AcregError(
                f"The slices of a volume have one {title(keyword)}. Received: {where} with "
                f"{', '.join(word or 'none' for word in found[:5])}. They belong to several volumes: keep the slices "
                "of one, or convert the volumes to NIfTI one by one with another program."
            )


class Groups:
    """The elements of a frame: in its own functional groups, in the shared ones, or in the file."""

    def __init__(self, path: Path, header: Any, shared: Any, own: Any) -> None:
        self.path, self.header = path, header
        self._levels = (own, shared)

    @classmethod
    def shared(cls, path: Path, header: Any) -> Groups:
        """What all frames of a file have in common."""
        return cls(path, header, (items(header, "SharedFunctionalGroupsSequence") or [{}])[0], {})

    def of_frame(self, own: Any) -> Groups:
        """What is said of one frame."""
        return Groups(self.path, self.header, self._levels[1], own)

    def item(self, sequence: str) -> Any:
        """The item of a functional group; the file itself where there is none."""
        for level in self._levels:
            found = items(level, sequence) if sequence else []
            if found:
                return found[0]
        return self.header

    def numbers(self, sequence: str, keyword: str, count: int, above: float = -np.inf) -> np.ndarray | None:
        return numbers(self.item(sequence), keyword, count, self.path, above)

    def text(self, sequence: str, keyword: str) -> str:
        return text(self.item(sequence), keyword)


def _spacing(group: Groups, needed: bool) -> tuple[float, float] | None:
    """Pixel Spacing is calibrated or measured in the patient; that of an X-ray's detector shows things magnified."""
    why = f"without {title('PixelSpacing')}"
    try:
        pixels = group.numbers("PixelMeasuresSequence", "PixelSpacing", 2, above=0)
        if pixels is None:
            pixels = group.numbers("", "ImagerPixelSpacing", 2, above=0)
            magnification = group.numbers("", "EstimatedRadiographicMagnificationFactor", 1, above=0)
            if pixels is not None and magnification is not None:
                pixels = pixels / magnification
        if pixels is None:
            pixels = group.numbers("", "NominalScannedPixelSpacing", 2, above=0)
        if pixels is not None:
            return float(pixels[0]), float(pixels[1])
    except AcregError as error:
        why = f"where {error}"
    if needed:
        raise AcregError(
            f"The spacing of a DICOM image must be known. Received: {group.path} {why.rstrip('.')}. Give the spacing "
            "(`spacing` of read_image or of dataset.json), or save an X-ray as PNG, whose pixels count as 1 mm."
        )
    return None


def _directions(group: Groups) -> np.ndarray | None:
    numbers_ = group.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if numbers_ is None:
        return None
    directions = numbers_.reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > ALIKE or abs(directions[0] @ directions[1]) > ALIKE:
        raise AcregError(
            f"{title('ImageOrientationPatient')} is two unit vectors at right angles. Received: {group.path} with "
            f"{numbers_.tolist()}. The header is damaged or wrong; get the file again, or correct it."
        )
    return directions / lengths[:, None]


def _scaling(group: Groups) -> tuple[float, float]:
    """Slope and intercept: rescaling, dose scaling, or the real values of a parametric map."""
    path, header = group.path, group.header
    if object_class(header) == DOSE:
        slope, intercept = numbers(header, "DoseGridScaling", 1, path), None
        if slope is None:
            raise AcregError(f"A dose has {title('DoseGridScaling')}. Received: {path} without it. Get the file again.")
    else:
        if items(header, "ModalityLUTSequence"):
            raise AcregError(
                f"Values are scaled by a slope and an intercept. Received: {path} with {title('ModalityLUTSequence')}, "
                "a table of values. Convert it to NIfTI with another program."
            )
        slope = group.numbers("PixelValueTransformationSequence", "RescaleSlope", 1)
        intercept = group.numbers("PixelValueTransformationSequence", "RescaleIntercept", 1)
        if (slope is None and intercept is None) or object_class(header) == PARAMETRIC_MAP:
            return _real_world(group)
    a, b = (default if found is None else float(found[0]) for found, default in ((slope, 1.0), (intercept, 0.0)))
    if a == 0:
        raise AcregError(
            f"The slope that scales values is not 0. Received: {path} with {title('RescaleSlope')} 0, by which all "
            "values would be the same. The header is damaged; get the file again."
        )
    return a, b


def _real_world(group: Groups) -> tuple[float, float]:
    """Slope and intercept of Real World Value Mapping: those of a parametric map; elsewhere they must be 1 and 0."""
    own = group.item("RealWorldValueMappingSequence")
    mappings = items(group.header, "RealWorldValueMappingSequence") if own is group.header else [own]
    found = {
        tuple(
            default if (value := numbers(mapping, keyword, 1, group.path)) is None else float(value[0])
            for keyword, default in (("RealWorldValueSlope", np.nan), ("RealWorldValueIntercept", 0.0))
        )
        for mapping in mappings
    } or {(1.0, 0.0)}
    slope, intercept = found.pop()
    known = object_class(group.header) == PARAMETRIC_MAP or (slope, intercept) == (1.0, 0.0)
    if found or not known or not np.isfinite(slope) or slope == 0:
        raise AcregError(
            f"{title('RealWorldValueMappingSequence')} is one slope, not 0, and intercept, and applies to parametric "
            f"maps. Received: {group.path}, {class_name(group.header)}, with another mapping and no "
            f"{title('RescaleSlope')}. Convert it to NIfTI with another program."
        )
    return slope, intercept


def _dose_offsets(path: Path, header: Any, count: int) -> np.ndarray:
    """Distances of the planes of a dose from its first, mm along the normal."""
    if object_class(header) != DOSE or count == 1:
        return np.zeros(count)
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
