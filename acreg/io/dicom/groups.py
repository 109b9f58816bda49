"""Properties of a DICOM frame, from functional groups or the file: spacing, directions, the scaling of values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.errors import AcregError
from acreg.io.dicom.header import (
    DOSE,
    NUCLEAR,
    PARAMETRIC_MAP,
    SMALLEST,
    Elements,
    class_name,
    items,
    numbers,
    object_class,
    text,
    title,
)

if TYPE_CHECKING:
    from pydicom import Dataset

ALIKE = 1e-3
"""Largest deviation of directions from orthogonal unit vectors and from each other, and of spacings (relative)."""


class Groups:
    """The elements of a frame: from its own functional groups, the shared ones, or the file itself."""

    def __init__(
        self, path: Path, header: Dataset, shared: Elements, own: Elements, known: dict[Any, Any] | None = None
    ) -> None:
        self.path, self.header = path, header
        self._shared, self._own = shared, own
        self._known = {} if known is None else known  # elements that do not belong to one frame are read once

    @classmethod
    def shared(cls, path: Path, header: Dataset) -> Groups:
        """The elements that all frames of a file share."""
        groups = items(header, "SharedFunctionalGroupsSequence")
        shared: Elements = groups[0] if groups else {}
        if object_class(header) == NUCLEAR and (detectors := items(header, "DetectorInformationSequence")):
            shared = {"PlanePositionSequence": detectors, "PlaneOrientationSequence": detectors}
        return cls(path, header, shared, {})

    def of_frame(self, own: Elements) -> Groups:
        """The elements of one frame."""
        return Groups(self.path, self.header, self._shared, own, self._known)

    def numbers(self, sequence: str, keyword: str, count: int, above: float = -np.inf) -> np.ndarray | None:
        """`acreg.io.dicom.header.numbers` of an element in a functional group."""
        return self._ask(numbers, sequence, keyword, count, self.path, above)

    def text(self, sequence: str, keyword: str) -> str:
        """`acreg.io.dicom.header.text` of an element in a functional group."""
        return self._ask(text, sequence, keyword)

    def mappings(self) -> list[Dataset]:
        """The items of Real World Value Mapping."""
        name = "RealWorldValueMappingSequence"
        return items(self._own, name) or items(self._shared, name) or items(self.header, name)

    def _ask(self, question: Any, sequence: str, keyword: str, *arguments: Any) -> Any:
        own = items(self._own, sequence) if sequence else []
        if own:
            return question(own[0], keyword, *arguments)
        key = question, sequence, keyword
        if key not in self._known:
            shared = items(self._shared, sequence) if sequence else []
            self._known[key] = question(shared[0] if shared else self.header, keyword, *arguments)
        return self._known[key]


def pixel_spacing(group: Groups, needed: bool) -> tuple[float, float] | None:
    """Distance between rows and between columns in mm; None if the caller gives it instead of the file.

    Pixel Spacing is the spacing in the patient, calibrated or measured. If an X-ray only has the spacing of its
    detector, it is divided by the estimated magnification, if there is one; digitised film has the spacing of its scan.

    Raises:
        AcregError: it is needed, and is missing or not a pair of positive numbers.
    """
    remedy = (
        "Give the spacing (`spacing` of read_image or of dataset.json), or save an X-ray as PNG, whose pixels count as "
        "1 mm."
    )
    try:
        pixels = group.numbers("PixelMeasuresSequence", "PixelSpacing", 2, above=SMALLEST)
        if pixels is None:
            pixels = group.numbers("", "ImagerPixelSpacing", 2, above=SMALLEST)
            magnification = group.numbers("", "EstimatedRadiographicMagnificationFactor", 1, above=SMALLEST)
            if pixels is not None and magnification is not None:
                pixels = pixels / magnification
        if pixels is None:
            pixels = group.numbers("", "NominalScannedPixelSpacing", 2, above=SMALLEST)
    except AcregError as error:
        if needed:
            raise AcregError(f"{error} {remedy}") from error
        return None
    if pixels is None and needed:
        raise AcregError(
            f"The spacing of a DICOM image must be known. Received: {group.path} without {title('PixelSpacing')}. "
            f"{remedy}"
        )
    return None if pixels is None else (float(pixels[0]), float(pixels[1]))


def slice_thickness(group: Groups) -> float:
    """Distance to the next slice in mm or, if it is not given, the thickness of the slice; 1 if neither is given."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        found = group.numbers("PixelMeasuresSequence", keyword, 1)
        if found is not None and found[0] > SMALLEST:
            return float(found[0])
    return 1.0


def plane_directions(group: Groups) -> np.ndarray | None:
    """`(2, 3)`, unit vectors along a row and along a column, LPS; None if the file does not give them."""
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


def value_scaling(group: Groups) -> tuple[float, float]:
    """Slope and intercept: from the rescaling, the dose scaling, or the real-world values of a parametric map."""
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
    """Slope and intercept of Real World Value Mapping in a parametric map; in other objects they must be 1 and 0."""
    found = {
        tuple(
            default if (value := numbers(mapping, keyword, 1, group.path)) is None else float(value[0])
            for keyword, default in (("RealWorldValueSlope", np.nan), ("RealWorldValueIntercept", 0.0))
        )
        for mapping in group.mappings()
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
