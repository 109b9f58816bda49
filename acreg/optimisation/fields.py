"""Fields of the working space, and the guard against folding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keras import ops
from numpy.typing import NDArray
from scipy import ndimage

from acreg.geometry import Displacement, Grid, Velocity
from acreg.geometry.extents import covering
from acreg.layers.functional import integrate, jacobian_determinant, resize_displacement
from acreg.layers.warping import no_gradients

SQUARINGS = 5
"""Of the flow while it is optimised; a velocity changes by less than a voxel in each of the steps."""


@dataclass(frozen=True, eq=False)
class Field:
    """A velocity or a displacement on a grid of the working space, in voxels of it, ``(*grid.shape, rank)``."""

    vectors: NDArray[np.float32]
    grid: Grid
    kind: str

    def over(self, extent: Grid) -> Velocity | Displacement:
        """The map of the field, continued over the extent of another grid."""
        return Field(*covering(self.vectors, self.grid, extent), self.kind).map()

    def map(self) -> Velocity | Displacement:
        """The field as a map of physical space."""
        return Velocity(self.vectors, self.grid) if self.kind == "velocity" else Displacement(self.vectors, self.grid)


def without_folding(found: Field, grid: Grid, percent: float) -> Field:
    """The field, smoothed until at most a share of the voxels of `grid` folds.

    Only the surroundings of the places that fold are smoothed, by more and more.
    """
    for step in range(20):
        folded = folded_voxels(found, grid)
        if 100.0 * folded.mean() <= percent:
            break
        found = Field(_smoothed_at(found.vectors, folded, 0.5 * (step + 1)), found.grid, found.kind)
    return found


def folded_voxels(found: Field, grid: Grid) -> NDArray[np.bool_]:
    """Which voxels of a grid over the same extent fold."""
    tensor = ops.convert_to_tensor(found.vectors[None])
    with no_gradients():
        u = integrate(tensor, SQUARINGS + 2) if found.kind == "velocity" else tensor
    u = resize_displacement(u, grid.shape)
    folds: NDArray[np.bool_] = ops.convert_to_numpy(jacobian_determinant(u))[0] <= 0
    return folds


def _smoothed_at(vectors: NDArray[np.float32], folded: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """A field, smoothed around voxels of a finer grid."""
    sizes = vectors.shape[:-1]
    coarse = np.zeros(sizes, np.float32)
    coarse[tuple(i * m // n for i, m, n in zip(np.nonzero(folded), sizes, folded.shape, strict=True))] = 1
    share = np.clip(ndimage.gaussian_filter(coarse, 2.0) * 20, 0, 1)[..., None]
    smooth = ndimage.gaussian_filter(vectors, (*(sigma,) * len(sizes), 0), mode="nearest")
    return (vectors + share * (smooth - vectors)).astype(np.float32)
