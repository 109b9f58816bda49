"""DICOM segmentations as label maps: in one volume, the voxels of each segment get its number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.dicom.frames import UNEVEN, Frame, check_alike, plane_grid, read_frames, volume_grid
from acreg.io.dicom.groups import ALIKE, Groups
from acreg.io.dicom.header import SMALLEST, items, text, title, whole_number
from acreg.io.dicom.pixels import stored_pixels
from acreg.io.guards import LARGEST, check_size

if TYPE_CHECKING:
    from pydicom import Dataset

KINDS = BINARY, FRACTIONAL, LABEL_MAP = "BINARY", "FRACTIONAL", "LABELMAP"


def load_segmentation(path: Path, header: Dataset, needs_spacing: bool) -> tuple[np.ndarray, Grid]:
    """The label map `(z, y, x)` of a segmentation, from its lowest plane to its highest.

    The value of a voxel is the number of its segment. Planes without a segment need not be in the file. A single plane
    gives 2-D labels, unless the file gives the distance between planes.

    Raises:
        AcregError: segments overlap or are fractional, planes are not evenly spaced, or elements contradict each other.
    """
    frames = read_frames(path, header, needs_spacing)
    kind = text(header, "SegmentationType")
    known = {whole_number(item, "SegmentNumber", path) for item in items(header, "SegmentSequence")}
    if kind not in KINDS:
        raise AcregError(
            f"{title('SegmentationType')} is one of {', '.join(KINDS)}. Received: {path} with {kind!r}. Export the "
            "segmentation as a label map in NIfTI."
        )
    planes, grid = _places(path, header, frames)
    check_size(path, grid.shape, 4, path.stat().st_size, LARGEST)  # planes without a segment are not stored
    masks = stored_pixels(path, header, labels=True)
    if kind == FRACTIONAL:
        masks = _whole(masks, header, path)
    found = set(np.unique(masks).tolist()) - {0} if kind == LABEL_MAP else {frame.segment for frame in frames}
    if not found <= known:
        raise AcregError(
            f"What a segmentation holds belongs to a segment of {title('SegmentSequence')}. Received: {path} with "
            f"segments {sorted(known)}, but pixels of {sorted(found - known)[:10]}. Get the file again."
        )
    labels = np.zeros((int(planes.max()) + 1, *grid.shape[-2:]), np.int32)
    for plane, frame in zip(planes, frames, strict=True):
        stored = masks[frame.index]
        mask = stored != 0
        taken = labels[plane][mask]
        if taken.any():
            others = sorted({frame.segment, *np.unique(taken[taken != 0]).tolist()} - {0})
            raise AcregError(
                f"In a label map each voxel has one label. Received: {path}, whose segments "
                f"{' and '.join(map(str, others))} share {np.count_nonzero(taken)} voxels of a plane. Export the "
                "segments one by one, or as a label map from 3D Slicer, where later segments win."
            )
        labels[plane][mask] = stored[mask] if kind == LABEL_MAP else frame.segment
    return labels if grid.rank == 3 else labels[0], grid


def _places(path: Path, header: Dataset, frames: list[Frame]) -> tuple[np.ndarray, Grid]:
    """The plane of each frame, and the grid of the volume: evenly spaced planes, some of which may have no frame."""
    where = f"the segmentation {path}"
    check_alike(frames, where)
    positions = np.array([frame.position for frame in frames])
    normal = np.cross(*frames[0].directions)  # type: ignore[misc]
    along = positions @ normal
    distances = np.diff(np.sort(along))
    distances = distances[distances > ALIKE]
    said = Groups.shared(path, header).numbers("PixelMeasuresSequence", "SpacingBetweenSlices", 1, above=SMALLEST)
    if not distances.size:
        alone = plane_grid(frames[0]) if said is None else volume_grid(frames[0], 1, normal * said)
        return np.zeros(len(frames), int), alone
    step = float(distances.min() if said is None else said[0])
    planes = np.rint((along - along.min()) / step).astype(int)
    first, last = (int(which(planes)) for which in (np.argmin, np.argmax))
    move = (positions[last] - positions[first]) / max(int(planes[last]), 1)
    off = np.linalg.norm(positions - positions[first] - planes[:, None] * move, axis=1).max()
    if off > UNEVEN * step:
        raise AcregError(
            f"The planes of a segmentation lie at multiples of one distance. Received: {path}, whose planes are up to "
            f"{off:.3g} mm away from multiples of {step:.4g} mm. Export it again, or as a label map in NIfTI."
        )
    return planes, volume_grid(frames[first], int(planes[last]) + 1, move)


def _whole(masks: np.ndarray, header: Dataset, path: Path) -> np.ndarray:
    """Fractional values that are all 0 or 1, as a mask."""
    largest = whole_number(header, "MaximumFractionalValue", path)
    if largest == 0 or not np.isin(masks, (0, largest)).all():
        raise AcregError(
            f"Labels are whole. Received: {path}, a segmentation of fractions up to {largest}. Choose a threshold in "
            "another program, and save it as a binary segmentation or a label map."
        )
    return masks != 0
