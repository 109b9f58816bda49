"""What the values of label files may be."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from acreg.errors import AcregError

FRAGMENT = 3
"""Voxels that the pieces of a label have on average, at least, if it is no noise."""
PIECES, PIECE = 50, 64
"""Pieces of a label, and voxels in each on average, of which there are more, or which are larger, in a label map."""
SCATTERED = 0.4
"""Share of the labels that may be scattered: at most 0.1 were in 30 brain atlases, at least 0.5 in images."""
DENSE = 0.25
"""Share of labelled voxels from which on a voxel by itself is noise, not a landmark."""
LOOKED_AT = (500, 2**22)
"""Voxels by which a map is judged, at least (a smaller one is taken for labels) and at most."""


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


def check_label_regions(array: np.ndarray, name: str) -> None:
    """Raise an `AcregError` if most labels are no regions: an image, or a mask that a photo's compression changed."""
    if not has_regions(array):
        values = np.unique(array)
        raise AcregError(
            f"The voxels of a label form regions. Received: {name} with {values.size} values from {values[0]} to "
            f"{values[-1]}, most of them scattered over single voxels as the grey levels of an image are. Give the "
            "label map; one that was saved as JPEG, or resized with interpolation, is to be thresholded first."
        )


def has_regions(array: np.ndarray) -> bool:
    """Whether whole numbers `(*spatial)` are labels by how they lie, not grey levels.

    A label is scattered if it comes in more than two pieces (voxels that touch, corners included) of fewer than 3
    voxels on average, where a quarter of the map is labelled also in one or two, or, of more than eight labels, in more
    than 50 pieces of fewer than 64. Labels are no regions where more than 40 % of three or more are scattered. Of a
    large map a part in the middle of what is labelled is looked at; maps of fewer than 500 voxels cannot be judged.
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
    """The middle of the box around all that is not 0, of `LOOKED_AT[1]` voxels at most."""
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
