"""Description of an image file: its grid, its values, and whether it holds intensities, labels or vectors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acreg.geometry import Grid
from acreg.io.contents import Contents
from acreg.io.formats import DICOM
from acreg.io.guards import check_file, format_of
from acreg.io.image import read_image, read_labels
from acreg.io.label_values import has_regions

FEW = 1000
"""Largest number of distinct values of a label map."""
LISTED = 20
SLAB = 2**20
"""Voxels that are examined at once."""
OPPOSITE = str.maketrans("RLAPSI", "LRPAIS")


def inspect_image(path: Path) -> dict[str, Any]:
    """Facts about an image file by name; see `acreg.applications.inspection.files.inspect`.

    Raises:
        AcregError: the file is empty, damaged or not of the format that its suffix names.
    """
    check_file(path)
    known = format_of(path) or DICOM
    if hasattr(known.module, "inspect"):
        found: Contents = known.module.inspect(path)
        return _facts(found)
    stored = {"format": known.name}
    if hasattr(known.module, "holds_labels") and known.module.holds_labels(path):
        labels = read_labels(path)
        return _facts(Contents(stored, labels.array, labels.grid, kind="labels"))
    image = read_image(path)
    return _facts(Contents(stored, image.array, None if known.picture else image.grid))


def _facts(found: Contents) -> dict[str, Any]:
    """Facts about the contents of a file, in the order in which they are shown."""
    facts: dict[str, Any] = {"kind": found.kind}
    if found.unit:
        facts["vectors"] = found.vectors
    facts |= found.stored
    if found.array is None:
        return {**facts, **found.header, "why": found.why}
    if found.unit and found.grid is not None:
        field = {**_shape(found.grid.shape), **_place(found.grid), **found.header}
        return {**facts, **field, **_lengths(found.array, found.unit)}
    values = _Values.of(found.array)
    if "shape_as_stored" in facts:
        return {**facts, **found.header, **values.facts()}
    facts["kind"] = found.kind or _kind(found.array, values.counts)
    place = {"spacing": None} if found.grid is None else _place(found.grid.volume())
    return {**facts, **_shape(found.array.shape), **place, **found.header, **values.facts()}


def _shape(shape: tuple[int, ...]) -> dict[str, Any]:
    axes = "zyx"[-len(shape) :]
    return {f"shape_{axes}": list(shape), f"shape_{axes[::-1]}": list(shape[::-1])}


def _place(grid: Grid) -> dict[str, Any]:
    """Spacing, origin and orientation, all in the file's order of axes (x, y, z)."""
    from nibabel.affines import obliquity
    from nibabel.orientations import aff2axcodes

    axes = "xyz"[: grid.rank]
    facts: dict[str, Any] = {
        f"spacing_{axes}_mm": list(grid.spacing[::-1]),
        f"origin_{axes}_mm": list(grid.origin[::-1]),
    }
    if grid.rank == 3:
        affine = grid.affine()
        code = "".join(aff2axcodes(affine))
        facts["orientation_towards"] = code
        facts["orientation_from"] = code.translate(OPPOSITE)
        facts["oblique_degrees"] = float(np.degrees(obliquity(affine).max()))
    return facts


@dataclass
class _Values:
    """Statistics of an image's values, computed slab by slab, since an image may fill the memory."""

    low: float | int | None = None
    high: float | int | None = None
    not_finite: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    """How often each value occurs; empty if the values are not whole numbers or more than `FEW`."""

    @classmethod
    def of(cls, array: np.ndarray) -> _Values:
        found, few = cls(), True
        flat = array.reshape(-1)
        for start in range(0, flat.size, SLAB):
            slab = flat[start : start + SLAB]
            finite = slab[np.isfinite(slab)] if slab.dtype.kind == "f" else slab
            found.not_finite += slab.size - finite.size
            if finite.size:
                low, high = finite.min().item(), finite.max().item()
                found.low = low if found.low is None else min(found.low, low)
                found.high = high if found.high is None else max(found.high, high)
            few = few and finite.size == slab.size and _is_whole(slab)
            if few:
                values, counts = np.unique(slab, return_counts=True)
                found.counts.update(dict(zip(map(int, values), counts.tolist(), strict=True)))
                few = len(found.counts) <= FEW
        if not few:
            found.counts.clear()
        return found

    def facts(self) -> dict[str, Any]:
        """Range, number of non-finite values, and the labels if the values are few whole numbers."""
        facts: dict[str, Any] = {"not_finite": self.not_finite} if self.not_finite else {}
        if self.low is not None:
            facts["range"] = [self.low, self.high]
        if self.counts:
            facts["distinct_values"] = len(self.counts)
        if 0 < len(self.counts) <= LISTED:
            facts["values"] = sorted(self.counts)
        return facts


def _is_whole(slab: np.ndarray) -> bool:
    return slab.dtype.kind != "f" or np.array_equal(slab, np.rint(slab))


def _kind(array: np.ndarray, values: Counter[int]) -> str:
    """A guess: labels are few whole numbers whose voxels form regions, as `acreg.io.read_labels` requires."""
    if not values:
        return "image"
    return "labels (a guess by their values)" if has_regions(array) else "image (a guess by its values)"


def _lengths(vectors: np.ndarray, unit: str) -> dict[str, Any]:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    if not np.isfinite(lengths).all():
        return {"not_finite": int(np.count_nonzero(~np.isfinite(lengths)))}
    return {f"mean_length_{unit}": float(lengths.mean()), f"largest_length_{unit}": float(lengths.max())}
