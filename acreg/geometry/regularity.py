"""Measures of the folding and the smoothness of a displacement."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from acreg.geometry.displacement import determinant, jacobian_determinant, slabs

LOG_FLOOR = 1e-9
CELLS = 1 << 15  # voxels processed at a time, so that intermediate results stay in the processor's cache
LEARN2REG_BORDER = 2
LEARN2REG_SHIFT = 3.0


def folding(displacement: np.ndarray) -> dict[str, float]:
    """Folding and smoothness of a displacement, in numbers.

    With `det` the Jacobian determinant of `p -> p + u(p)` (central differences inside, one-sided at the border) over
    all voxels of the grid:

    - `folded_percent` = 100 * (number of voxels with `det <= 0`) / (number of voxels);
    - `ndv_percent`: the non-diffeomorphic volume, see `non_diffeomorphic_percent`;
    - `sd_log_j` = standard deviation (population) of `log(max(det, 1e-9))`, without unit;
    - `sd_log_j_learn2reg` = the same of `log(clip(det + 3, 1e-9, 1e9))` without the outer two voxels of each side, as
      the Learn2Reg challenges report it (Hering et al., IEEE TMI 2023). Because of the added 3, it is much smaller than
      `sd_log_j`; NaN for a grid that has fewer than five voxels along an axis.

    All four are 0 for the identity. NaN values count as folded, and make the other three measures NaN.

    Args:
        displacement: `(*spatial, rank)`, voxels.

    Raises:
        AcregError: as `jacobian_determinant`.
    """
    det = jacobian_determinant(displacement)
    log_det = log_determinant(det)
    inner = det[(slice(LEARN2REG_BORDER, -LEARN2REG_BORDER),) * det.ndim]
    learn2reg = np.std(np.log(np.clip(inner + LEARN2REG_SHIFT, 1e-9, 1e9))) if inner.size else np.nan
    return {
        "folded_percent": 100.0 * float(np.mean(~(det > 0))),
        "ndv_percent": non_diffeomorphic_percent(displacement),
        "sd_log_j": float(np.std(log_det)),
        "sd_log_j_learn2reg": float(learn2reg),
    }


def log_determinant(determinant: np.ndarray) -> np.ndarray:
    """`log(max(det, 1e-9))` of Jacobian determinants: folded voxels count as voxels that are compressed almost to 0."""
    return np.log(np.maximum(determinant, LOG_FLOOR))


def non_diffeomorphic_percent(displacement: np.ndarray) -> float:
    """Non-diffeomorphic volume (in 2-D: area) of `p -> p + u(p)`, in percent of the volume between the voxel centres.

    A central difference ignores the voxel in its middle, so that its determinant may be positive where a field
    folds. Here, each cell, the cube between 8 voxel centres (the square between 4), is divided into simplices, on each
    of which the field is linear. A cell is divided in two ways that are mirror images of each other, each into four
    tetrahedra at corners and one in the middle (in 2-D, into two triangles). Their signed volumes are the ten
    determinants of forward and backward differences (four in 2-D). The negative volumes are added and halved, because
    there are two divisions. So a fold counts by its volume, and values above 100 are possible. Liu et al., IJCV 2024,
    arXiv:2212.06060.

    Args:
        displacement: `(*spatial, rank)`, voxels.
    """
    rank = displacement.ndim - 1
    cells = tuple(n - 1 for n in displacement.shape[:-1])
    negative = 0.0
    for part in slabs(cells, CELLS):
        rows = np.moveaxis(displacement[part.start : part.stop + 1], -1, 0).astype(np.float64, order="C")
        negative -= sum(float(np.minimum(volume, 0.0).sum()) for volume in _simplex_volumes(rows, rank))
    return 50.0 * negative / float(np.prod(cells))


def _simplex_volumes(u: np.ndarray, rank: int) -> Iterator[np.ndarray]:
    """The signed volumes of all simplices after `p -> p + u(p)`, for both divisions; `u` is `(rank, *spatial)`."""
    edges = [np.diff(u, axis=d + 1) for d in range(rank)]
    for d in range(rank):
        edges[d][d] += 1.0

    def edge(axis: int, corner: tuple[int, ...]) -> np.ndarray:
        """The edge of each cell along `axis` that ends at `corner` of the cell."""
        return edges[axis][(slice(None), *(_side(c) if d != axis else slice(None) for d, c in enumerate(corner)))]

    for corner in itertools.product((0, 1), repeat=rank):
        yield determinant([edge(d, corner) for d in range(rank)]) / (2.0 if rank == 2 else 6.0)
    if rank == 3:
        # The tetrahedron in the middle of each division, a third of the cell: from one corner across the faces.
        for corner in ((0, 0, 0), (1, 1, 1)):
            across: list[np.ndarray] = []
            for d in range(3):
                first, second = (d + 1) % 3, (d + 2) % 3
                turned = tuple(1 - c if axis == first else c for axis, c in enumerate(corner))
                across.append(edge(first, corner) + edge(second, turned))
            yield determinant(across) / 6.0


def _side(corner: int) -> slice:
    """The cells' first or second voxels along an axis."""
    return slice(1, None) if corner else slice(None, -1)
