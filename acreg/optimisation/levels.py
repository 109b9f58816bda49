"""Two images by resolution, as the continuous stage sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from acreg.geometry import Grid, Image
from acreg.layers.tensor import Tensor


@dataclass(frozen=True, eq=False)
class Level:
    """Both images at one resolution.

    Args:
        grid: in the space of the fixed image.
        fixed, moving: ``(1, *grid.shape, 1)``; the moving image as the maps place it.
        fixed_weights, moving_weights: likewise, from 0 to 1; None for all 1.
        factors: how many voxels of the working grid along each axis make one of this level.
    """

    grid: Grid
    fixed: Tensor
    moving: Tensor
    fixed_weights: Tensor | None
    moving_weights: Tensor | None
    factors: tuple[int, ...]

    def record(self, energies: Sequence[float], best: float) -> dict[str, Any]:
        """What an optimisation did here, for the record of its stage: the energy of each step, and the lowest."""
        return {
            "spacing": tuple(round(s, 3) for s in self.grid.spacing),
            "shape": self.grid.shape,
            "steps": len(energies),
            "energy": (energies[0], best),
        }


class Levels(Protocol):
    """Two images at several resolutions, as the continuous stage sees them."""

    @property
    def grid(self) -> Grid:
        """The grid of level 0, the finest."""

    @property
    def levels(self) -> int:
        """How many levels there are."""

    def level(self, number: int) -> Level:
        """The images at a level; 0 is the finest."""

    def field_grid(self, number: int) -> Grid:
        """The grid of the field at a level, over the same extent as the images."""

    def features(self, number: int, of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Features of both images at a level."""

    def one_hot(self, number: int, fixed: Image, moving: Image) -> tuple[Tensor, Tensor] | None:
        """Labels that both images have, at a level; None if they cannot be compared there."""


@dataclass(frozen=True, eq=False)
class OneLevel:
    """Two images at one resolution, and the grid of their field: `Levels` of images that are arrays already.

    Args:
        images: the level.
        field: over the same extent as the grid of the level.
    """

    images: Level
    field: Grid
    levels: int = 1

    @property
    def grid(self) -> Grid:
        """See `Levels`."""
        return self.images.grid

    def level(self, number: int) -> Level:
        """See `Levels`."""
        return self.images

    def field_grid(self, number: int) -> Grid:
        """See `Levels`."""
        return self.field

    def features(self, number: int, of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """See `Levels`."""
        return of(self.images.fixed), of(self.images.moving)

    def one_hot(self, number: int, fixed: Image, moving: Image) -> tuple[Tensor, Tensor] | None:
        """See `Levels`; arrays have no labels."""
        return None


def described(record: Mapping[str, Any]) -> str:
    """The record of a level as a sentence."""
    first, last = record["energy"]
    return f"{'x'.join(map(str, record['shape']))} voxels: {first:.4f} to {last:.4f}, {record['steps']} steps"


def settled(energies: Sequence[float], patience: int, gain: float) -> bool:
    """Whether the energy falls no more: over `patience` steps by less than a share `gain` of all that was gained."""
    if len(energies) <= patience:
        return False
    before, now = min(energies[:-patience]), min(energies)
    return before - now < gain * (energies[0] - now)
