"""Operations on displacements: warping of arrays and the Jacobian determinant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from acreg.errors import AcregError

SLAB_VOXELS = 1 << 19  # voxels processed at a time, so that float64 temporaries stay small in 3-D


def warp_array(array: np.ndarray, displacement: np.ndarray, order: int = 1) -> np.ndarray:
    """`warped(p) = array(p + u(p))`; outside the array, the nearest edge value is used.

    Args:
        array: `(*spatial)`, the moving image or labels; its size may differ from the displacement's (same first voxel).
        displacement: `(*fixed_spatial, rank)`, voxels.
        order: 1 linear, 0 nearest (for labels), up to 5 splines as in `scipy.ndimage.map_coordinates`.

    Returns:
        `(*fixed_spatial)`; float32, or the dtype of `array` when `order` is 0.

    Raises:
        AcregError: array and displacement do not have the same number of axes.
    """
    array = np.asarray(array)
    rank = check_displacement(displacement)
    if array.ndim != rank:
        raise AcregError(
            f"An array with {array.ndim} axes cannot be warped by a displacement with {rank}. "
            f"Received: array {array.shape}, displacement {displacement.shape}."
        )
    if order > 0:
        array = array.astype(np.float32, copy=False)
    result = np.empty(displacement.shape[:-1], array.dtype)
    for part in slabs(result.shape):
        points = voxel_indices(result.shape, part) + displacement[part]
        result[part] = ndimage.map_coordinates(array, np.moveaxis(points, -1, 0), order=order, mode="nearest")
    return result


def voxel_indices(shape: tuple[int, ...], part: slice = slice(None)) -> np.ndarray:
    """The indices of the voxels of a grid, or of the rows `part` of it: float64 `(*spatial of part, rank)`."""
    start, stop, _ = part.indices(shape[0])
    indices = np.indices((stop - start, *shape[1:]), dtype=float)
    indices[0] += start
    return np.moveaxis(indices, 0, -1)


def slabs(shape: tuple[int, ...], voxels: int | None = None) -> Iterator[slice]:
    """Cut the first axis into parts of about `voxels` (`SLAB_VOXELS` if left out) voxels."""
    rows = max(1, (voxels or SLAB_VOXELS) // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def jacobian_determinant(displacement: np.ndarray) -> np.ndarray:
    """Determinant of the Jacobian of `p -> p + u(p)`, that is of `I + du/dp`, at every voxel; 1 for the identity.

    Derivatives are central differences inside and one-sided at the border (`numpy.gradient`), in voxels: the
    determinant is the local change of volume and does not depend on the spacing.

    Args:
        displacement: `(*spatial, rank)`, voxels, rank 2 or 3, at least 2 voxels along each axis.

    Returns:
        float64 `(*spatial)`.

    Raises:
        AcregError: the shape is not one of a displacement, or an axis has a single voxel.
    """
    rank = check_displacement(displacement)
    shape = displacement.shape[:-1]
    check_length(shape)
    result = np.empty(shape)
    for part in slabs(shape):
        before, after = min(part.start, 1), min(shape[0] - part.stop, 1)
        if part.stop - part.start + before + after < 2:
            before = 1
        rows = displacement[part.start - before : part.stop + after].astype(np.float64)
        j = [list(np.gradient(rows[..., d])) for d in range(rank)]
        for d in range(rank):
            j[d][d] = j[d][d] + 1.0
        result[part] = determinant(j)[before : before + part.stop - part.start]
    return result


def check_length(shape: tuple[int, ...]) -> None:
    """Raise `AcregError` for a grid without neighbours along an axis, where no Jacobian exists."""
    if min(shape) < 2:
        raise AcregError(f"A Jacobian needs at least 2 voxels along each axis. Received: spatial shape {shape}.")


def check_displacement(displacement: np.ndarray) -> int:
    """Return the rank of a displacement `(*spatial, rank)`, rank 2 or 3, or raise `AcregError`."""
    rank = displacement.ndim - 1
    if rank not in (2, 3) or displacement.shape[-1] != rank:
        raise AcregError(
            "A displacement is (rows, columns, 2) or (z, y, x, 3), without a batch axis. "
            f"Received: shape={displacement.shape}."
        )
    return rank


def determinant(j: Sequence[Sequence[np.ndarray] | np.ndarray]) -> np.ndarray:
    """The determinant of 2x2 or 3x3 matrices whose entries `j[row][column]` are arrays, multiplied out for speed."""
    if len(j) == 2:
        return j[0][0] * j[1][1] - j[0][1] * j[1][0]
    return (
        j[0][0] * (j[1][1] * j[2][2] - j[1][2] * j[2][1])
        - j[0][1] * (j[1][0] * j[2][2] - j[1][2] * j[2][0])
        + j[0][2] * (j[1][0] * j[2][1] - j[1][1] * j[2][0])
    )
