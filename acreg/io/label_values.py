"""The values that label files may have."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping

import numpy as np

from acreg.errors import AcregError, DoubtfulResult

FRAGMENT = 3
"""Smallest mean number of voxels in the pieces of a label that is not noise."""
PIECES, PIECE = 50, 64
"""A label with more pieces than the first number, of fewer voxels on average than the second, is scattered."""
SCATTERED = 0.4
"""Share of the labels that may be scattered: it was at most 0.1 in 30 brain atlases, and at least 0.5 in images."""
DENSE = 0.25
"""If at least this share of the voxels is labelled, an isolated voxel is noise, not a landmark."""
LOOKED_AT = (500, 2**22)
"""Smallest and largest number of voxels by which a map is judged; a smaller map is accepted as labels."""


def check_label_values(array: np.ndarray, values: Iterable[int], name: str) -> None:
    """Raise an `AcregError` that lists the values of `array` that are not among `values`."""
    allowed = sorted({int(v) for v in values})
    unknown = np.setdiff1d(np.unique(array), allowed)
    if unknown.size:
        more = f" and {unknown.size - 10} more" if unknown.size > 10 else ""
        raise AcregError(
            f"Labels must be among {allowed}. Received: {name} with {', '.join(str(v) for v in unknown[:10])}{more}. "
            "Correct the file, or name these values in the dataset's label set."
        )


def warn_of_other_names(known: Mapping[int, str], found: Mapping[int, str], what: str) -> None:
    """Warn with a `DoubtfulResult` that labels of `what` have other names than the same labels of a preset.

    Args:
        known: the names of the preset's labels; empty if it has none.
        found: the names of the other labels. "label 3" is no name.
        what: where these come from.
    """
    unlike = [
        f"{value} is {known[value]} in the preset and {name} in {what}"
        for value, name in sorted(found.items())
        if value and value in known and known[value].casefold() != name.casefold()
        if not any(re.fullmatch(r"label \d+", one) for one in (name, known[value]))
    ]
    if unlike:
        warnings.warn(
            f"A preset knows labels by number, which must mean the same structures in its data and in yours. Received: "
            f"{'; '.join(unlike)}. Use another preset, or correct the names.",
            DoubtfulResult,
            stacklevel=3,
        )


def check_label_regions(array: np.ndarray, name: str) -> None:
    """Raise an `AcregError` if most labels do not form regions: an image, or a mask changed by lossy compression."""
    if not has_regions(array):
        values = np.unique(array)
        raise AcregError(
            f"The voxels of a label form regions. Received: {name} with {values.size} values from {values[0]} to "
            f"{values[-1]}, most of them scattered over single voxels as the grey levels of an image are. Give the "
            "label map; one that was saved as JPEG, or resized with interpolation, is to be thresholded first."
        )


def has_regions(array: np.ndarray) -> bool:
    """Whether integers `(*spatial)` are labels rather than grey levels, judged by their spatial distribution.

    A label is scattered if it consists of more than two pieces (connected voxels, corners included) with fewer than 3
    voxels on average; if a quarter of the map is labelled, one or two such pieces are enough. If there are more than
    eight labels, a label with more than 50 pieces of fewer than 64 voxels is also scattered. If more than 40 % of three
    or more labels are scattered, they do not form regions. Of a large map, only the middle of the labelled part is
    examined; maps with fewer than 500 voxels cannot be judged.
    """
    from skimage import measure

    if array.size < LOOKED_AT[0]:
        return True
    array = _middle(array)
    values, ids = np.unique(array, return_inverse=True)
    labels = values != 0
    if np.count_nonzero(labels) < 3:
        return True
    ids = ids.reshape(array.shape)
    pieces = measure.label(ids, background=-1, connectivity=array.ndim)
    label_of = np.zeros(int(pieces.max()) + 1, np.intp)
    label_of[pieces.ravel()] = ids.ravel()
    voxels = np.bincount(ids.ravel())[labels]
    count = np.bincount(label_of[1:], minlength=len(values))[labels]
    size = voxels / count
    dense = voxels.sum() > DENSE * array.size
    scattered = (size < FRAGMENT) & ((count > 2) | dense)
    if count.size > 8:
        scattered |= (count > PIECES) & (size < PIECE)
    return bool(scattered.mean() <= SCATTERED)


def _middle(array: np.ndarray) -> np.ndarray:
    """The middle of the box around all non-zero voxels, with at most `LOOKED_AT[1]` voxels."""
    if array.size <= LOOKED_AT[1]:
        return array
    side = int(LOOKED_AT[1] ** (1 / array.ndim))
    part = []
    for axis, size in enumerate(array.shape):
        there = np.flatnonzero(array.any(axis=tuple(d for d in range(array.ndim) if d != axis)))
        first, last = (int(there[0]), int(there[-1]) + 1) if there.size else (0, size)
        start = max(first, (first + last - side) // 2)
        part.append(slice(start, min(start + side, last)))
    return array[tuple(part)]
