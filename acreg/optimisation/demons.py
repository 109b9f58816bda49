"""Symmetric log-demons with local correlation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray
from scipy import ndimage

from acreg.errors import AcregError, UsageError, images_by_name
from acreg.geometry import Image, Transform, resize_displacement
from acreg.geometry.brackets import symmetric_composition
from acreg.layers.functional import integrate, warp
from acreg.layers.warping import no_gradients
from acreg.optimisation.alignment import Alignment, EngineResult
from acreg.optimisation.fields import SQUARINGS, Field
from acreg.optimisation.guides import Guides
from acreg.optimisation.levels import Level, Levels, described, settled
from acreg.optimisation.local_correlation import local_update
from acreg.optimisation.workspace import VOXELS, Workspace


@dataclass(frozen=True)
class DemonsSettings:
    """What the demons do; `docs/models/svfnet.md` says how the default of `smoothing` was found.

    Lengths are in voxels of each level, those of the axes with the smallest voxels.

    Args:
        window: standard deviation of the Gaussian windows of the local correlation.
        longest: no update exceeds it: half of the ratio of sigma_x to sigma_i, see
            `acreg.optimisation.local_correlation`.
        update_smoothing: standard deviation of the Gaussian that smooths each update (a fluid); 0 for none.
        smoothing: that of the Gaussian that smooths the velocity after each update (diffusion); 0 for none.
        brackets: whether the Lie brackets of third order are added to the sum of velocity and update.
        steps: at each level at most, from coarse to fine; the last number holds for further levels.
        patience: steps over which the unexplained share must fall by `gain`, or the level ends.
        gain: see `patience`; a share of what was gained at this level.

    Raises:
        UsageError: a length or a number of steps is out of range.
    """

    window: float = 2.0
    longest: float = 1.0
    update_smoothing: float = 1.5
    smoothing: float = 1.0
    brackets: bool = False
    steps: tuple[int, ...] = (60, 60, 40)
    patience: int = 10
    gain: float = 0.01

    def __post_init__(self) -> None:
        positive = (self.window, self.longest, self.patience, *(self.steps or (0,)))
        if not all(0 < x < math.inf for x in positive) or not all(
            0 <= x < math.inf for x in (self.update_smoothing, self.smoothing, self.gain)
        ):
            raise UsageError(
                "Demons have positive lengths and numbers of steps; a smoothing or a gain may be 0. "
                f"Received: {self}. Correct it."
            )


class LogDemons:
    """Registers two images of one contrast by symmetric log-demons with local correlation ("LCC-Demons").

    After a linear stage, both images are warped half way at several resolutions, from coarse to fine: the fixed one by
    ``exp(-v / 2)``, the moving one by ``exp(v / 2)``. An update ``u``, in closed form and smoothed, moves them further,
    the fixed one by ``exp(-u / 2)`` and the moving one by ``exp(u / 2)``, so that the map becomes
    ``exp(v / 2) after exp(u) after exp(v / 2)``. The new ``v`` is its logarithm by the formula of Baker, Campbell and
    Hausdorff, smoothed. A level ends when the unexplained share of the local variance falls no more. Swapped images on
    one grid give ``-v``.

    Args:
        linear: "translation", "rigid", "similarity" or "affine"; None to start from the header, or from the initial
            transform.
        settings: of the demons.
        voxels: of the finest working grid, at most.
        seed: of the samples of the linear stage.

    Source: Lorenzi, Ayache, Frisoni and Pennec, LCC-Demons: a robust and accurate symmetric diffeomorphic registration
    algorithm, NeuroImage 81 (2013). Vercauteren et al., Symmetric log-domain diffeomorphic registration: a demons-based
    approach, MICCAI 2008.
    """

    def __init__(
        self,
        linear: str | None = "affine",
        settings: DemonsSettings = DemonsSettings(),
        voxels: int = VOXELS,
        seed: int = 0,
    ) -> None:
        self.alignment = Alignment(linear, seed)
        self.settings, self.voxels = settings, voxels

    @images_by_name
    def register(
        self,
        *,
        fixed: Image,
        moving: Image,
        guides: Guides = Guides(),  # noqa: B008
        progress: Callable[[str], None] | None = None,
    ) -> EngineResult:
        """Args, errors: as `Engine.register`; landmarks and labels among the guides are refused (`AcregError`)."""
        if guides.fixed_points is not None or guides.fixed_labels is not None:
            raise AcregError(
                "Demons are guided by masks and an initial transform. Received: "
                f"{'landmarks' if guides.fixed_labels is None else 'labels'} as guides of acreg:lcc-demons. Leave them "
                "out, or register by acreg:deformable."
            )
        aligned = self.alignment.register(fixed=fixed, moving=moving, guides=guides, progress=progress)
        maps = aligned.transform.maps
        space = Workspace.of(fixed, moving, guides, maps, self.voxels)
        began = time.perf_counter()
        found, records = self.optimise(space, progress)
        stage = {
            "stage": "demons",
            "similarity": ["local correlation"],
            "levels": records,
            "seconds": time.perf_counter() - began,
        }
        transform = Transform(fixed.grid, moving.grid, (found.over(fixed.grid), *maps))
        return EngineResult(transform, "one", [*aligned.stages, stage])

    def optimise(
        self, workspace: Levels, progress: Callable[[str], None] | None = None
    ) -> tuple[Field, list[dict[str, Any]]]:
        """The velocity for two images on the finest grid, and a record of each level, from coarse to fine."""
        records: list[dict[str, Any]] = []
        velocity: NDArray[np.float32] | None = None
        for index, number in enumerate(reversed(range(workspace.levels))):
            level = workspace.level(number)
            shape = level.grid.shape
            start = np.zeros((*shape, len(shape)), np.float32) if velocity is None else velocity
            steps = self.settings.steps[min(index, len(self.settings.steps) - 1)]
            velocity, record = self._at(level, resize_displacement(start, shape), steps)
            records.append(record)
            if progress is not None:
                progress(described(record))
        assert velocity is not None
        return Field(velocity, workspace.grid, "velocity"), records

    def _at(self, level: Level, start: NDArray[np.float32], steps: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The velocity after one level, in its voxels."""
        of = self.settings
        sides: NDArray[np.float32] = np.divide(level.grid.spacing, min(level.grid.spacing), dtype=np.float32)
        both = _both(level)
        velocity, best, energies = start, (math.inf, start), []
        for _ in range(steps):
            fixed, moving, known = _half_way(both, velocity)
            update, left = local_update(fixed, moving, known, sides.tolist(), of.window, of.longest)
            energies.append(float(np.average(left, weights=known)))
            if energies[-1] < best[0]:
                best = energies[-1], velocity
            if settled(energies, of.patience, of.gain):
                break
            update = _smoothed(update / sides, of.update_smoothing / sides)
            moved = symmetric_composition(velocity, update) if of.brackets else velocity + update
            velocity = _smoothed(moved, of.smoothing / sides)
        return best[1], level.record(energies, best[0])


def _both(level: Level) -> Any:
    """The fixed and the moving image as one batch, with their weights as a second channel if there are any."""
    images = [level.fixed, level.moving]
    weights = [level.fixed_weights, level.moving_weights]
    if any(each is not None for each in weights):
        weights = [ops.ones_like(level.fixed) if each is None else each for each in weights]
        images = [ops.concatenate(pair, axis=-1) for pair in zip(images, weights, strict=True)]
    return ops.concatenate(images, axis=0)


def _half_way(
    both: Any, velocity: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
    """Both images where they meet, and how much each voxel counts there."""
    with no_gradients():
        halves = integrate(ops.convert_to_tensor(np.stack([-velocity, velocity]) / np.float32(2)), SQUARINGS - 1)
        fixed, moving = ops.convert_to_numpy(warp(both, halves))
    known = fixed[..., 1] * moving[..., 1] if fixed.shape[-1] > 1 else None
    return fixed[..., 0], moving[..., 0], known


def _smoothed(field: NDArray[np.float32], sigmas: NDArray[np.float32]) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(field, (*sigmas, 0), mode="nearest")
