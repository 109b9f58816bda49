"""Registration of a pair by optimisation, in stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from acreg.errors import images_by_name
from acreg.geometry import Image, Transform, labels_on
from acreg.geometry.displacement import voxel_indices
from acreg.geometry.logarithm import logarithm
from acreg.geometry.maps import Map
from acreg.layers.functional import resize_displacement
from acreg.losses import LossWeights, mind_ssc_features
from acreg.optimisation.alignment import Alignment, EngineResult
from acreg.optimisation.continuous import Continuous, Settings
from acreg.optimisation.discrete import coarse_to_fine
from acreg.optimisation.fields import SQUARINGS, Field
from acreg.optimisation.guides import Guides
from acreg.optimisation.similarities import Similarity, similarities
from acreg.optimisation.workspace import VOXELS, Workspace

AUTO: dict[str, LossWeights] = {"one": {"local_ncc": 1.0}, "two": {"mind_ssc": 2.0}}
"""The similarity for images of one contrast, and of two."""
SEARCH = ((4, 3), (2, 1))
"""Cell and radius of each discrete search, in voxels of the axes with the smallest voxels and in cells."""
ONE_CONTRAST = 0.25
"""The smallest correlation, after the linear stage, of two images of one contrast."""
DARK = 0.1
"""Grey values up to this one, of 0 to 1, count as background."""


class Engine:
    """Registers two images of any anatomy and contrast by optimisation, without a trained network.

    Args:
        linear: "translation", "rigid", "similarity" or "affine"; None to start from the header, or from the initial
            transform.
        discrete: whether large displacements are searched for before the continuous stage.
        continuous: None for none, else the settings of the stage.
        similarity: of the discrete and continuous stage, see `acreg.optimisation.similarities`; "auto" for local NCC or
            MIND-SSC, whichever fits the two images.
        voxels: of the finest working grid, at most.
        seed: of the samples of the linear stage.
    """

    def __init__(
        self,
        linear: str | None = "affine",
        discrete: bool = True,
        continuous: Settings | None = Settings(),  # noqa: B008
        similarity: str | LossWeights | Sequence[Similarity] = "auto",
        voxels: int = VOXELS,
        seed: int = 0,
    ) -> None:
        self.alignment = Alignment(linear, seed)
        self.discrete, self.continuous = discrete, continuous
        self.similarity, self.voxels = similarity, voxels
        self._stages: dict[str, Continuous] = {}
        if similarity != "auto":
            self._stage(similarity)

    @images_by_name
    def register(
        self,
        *,
        fixed: Image,
        moving: Image,
        guides: Guides = Guides(),  # noqa: B008
        start: Transform | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> EngineResult:
        """Register a moving image onto a fixed image.

        Args:
            fixed, moving: 2-D or 3-D, any size, spacing and orientation.
            guides: what is known about the images.
            start: what a network found: its linear part replaces the linear stage, and the continuous stage starts from
                its deformation instead of the discrete stage's, at the resolution of level 1.
            progress: called with a sentence after each stage and level.

        Raises:
            AcregError: the images differ in rank or are constant, a guide does not fit, or the images do not overlap.
        """
        if start is not None:
            guides = replace(guides, initial=Transform(fixed.grid, moving.grid, (start.affine_part,)))
        alignment = self.alignment if start is None else Alignment(None)
        aligned = alignment.register(fixed=fixed, moving=moving, guides=guides, progress=progress)
        if self.continuous is None:
            return aligned
        maps, stages, say = aligned.transform.maps, aligned.stages, progress or (lambda _: None)
        space = Workspace.of(fixed, moving, guides, maps, self.voxels)
        correlation = _correlation(space)
        contrast = "one" if correlation >= ONE_CONTRAST else "two"
        chosen = AUTO[contrast] if self.similarity == "auto" else self.similarity
        if self.similarity == "auto":
            many = "one contrast" if contrast == "one" else "two contrasts"
            say(f"correlation {correlation:.2f} after the alignment: {many}, {next(iter(AUTO[contrast]))}")
        if start is not None:
            first: Field | None = self._placed(space, start)
        else:
            first = self._searched(space, chosen, stages, say) if self.discrete else None
        began = time.perf_counter()
        stage = self._stage(chosen)
        found, records = stage.optimise(
            space, first, points=_points(guides, maps), labels=_labels(guides, fixed, moving), progress=progress
        )
        stages.append(
            {
                "stage": "continuous",
                "similarity": [one.name for one in stage.similarities],
                "levels": records,
                "seconds": time.perf_counter() - began,
            }
        )
        return EngineResult(Transform(fixed.grid, moving.grid, (found.over(fixed.grid), *maps)), contrast, stages)

    def _searched(
        self,
        space: Workspace,
        chosen: str | LossWeights | Sequence[Similarity],
        stages: list[dict[str, Any]],
        say: Callable[[str], None],
    ) -> Field:
        """The field of the discrete stage."""
        start = time.perf_counter()
        level = space.level(0)
        features = [one.features for one in similarities(chosen) if one.features is not None]
        of = features[0] if features else mind_ssc_features
        side = np.array(level.grid.spacing)
        cells = [np.maximum(1, np.rint(cell * side.min() / side)).astype(int).tolist() for cell, _ in SEARCH]
        u = coarse_to_fine(
            *space.features(0, of),
            [(cell, radius) for cell, (_, radius) in zip(cells, SEARCH, strict=True)],
            spacing=level.grid.spacing,
            fixed_weights=level.fixed_weights,
            moving_weights=level.moving_weights,
        )
        kind = (self.continuous or Settings()).kind
        grid = space.coarser(space.factors(space.levels))
        vectors = ops.convert_to_numpy(resize_displacement(u, grid.shape))[0]
        if kind == "velocity":
            vectors = logarithm(vectors, steps=SQUARINGS).velocity
        length = float(np.linalg.norm(vectors * grid.spacing, axis=-1).mean())
        say(f"discrete search: moved by {length:.1f} mm on average")
        stages.append({"stage": "discrete", "mean_mm": length, "seconds": time.perf_counter() - start})
        return Field(vectors, grid, kind)

    def _placed(self, space: Workspace, start: Transform) -> Field:
        """The deformation of a transform, without its linear part, as a field of level 1."""
        kind = (self.continuous or Settings()).kind
        grid = space.field_grid(min(1, space.levels - 1))
        voxels = voxel_indices(grid.shape)
        points = grid.to_world(voxels.reshape(-1, grid.rank))
        there = start.affine_part.invert_points(start.warp_points(points, to="moving"))
        vectors = (grid.to_index(there).reshape(voxels.shape) - voxels).astype(np.float32)
        return Field(logarithm(vectors, steps=SQUARINGS).velocity if kind == "velocity" else vectors, grid, kind)

    def _stage(self, chosen: str | LossWeights | Sequence[Similarity]) -> Continuous:
        """The continuous stage; for a similarity by name it is kept for further pairs."""
        name = chosen if isinstance(chosen, str) else str(chosen) if isinstance(chosen, dict) else ""
        if name not in self._stages or not name:
            self._stages[name] = Continuous(similarities(chosen), self.continuous or Settings())
        return self._stages[name]


def _points(guides: Guides, maps: tuple[Map, ...]) -> NDArray[np.float64] | None:
    """Landmarks of the fixed image, and those of the moving image as the maps place them there, ``(2, n, rank)``."""
    if guides.fixed_points is None or guides.moving_points is None:
        return None
    there = np.asarray(guides.moving_points, float)
    for part in reversed(maps):
        there = part.invert_points(there)
    return np.stack([np.asarray(guides.fixed_points, float), there])


def _labels(guides: Guides, fixed: Image, moving: Image) -> tuple[Image, Image] | None:
    """The label maps on the grids of their images."""
    if guides.fixed_labels is None or guides.moving_labels is None:
        return None
    return labels_on(guides.fixed_labels, fixed), labels_on(guides.moving_labels, moving)


def _correlation(space: Workspace) -> float:
    """Pearson's correlation of both images where both show something: neither background nor one image alone."""
    level = space.level(0)
    fixed, moving = (ops.convert_to_numpy(x)[0, ..., 0] for x in (level.fixed, level.moving))
    known = (fixed > DARK) & (moving > DARK)
    for weights in (level.fixed_weights, level.moving_weights):
        if weights is not None:
            known &= ops.convert_to_numpy(weights)[0, ..., 0] > 0
    pair = fixed[known], moving[known]
    return float(np.corrcoef(*pair)[0, 1]) if known.any() and min(map(np.ptp, pair)) > 0 else 0.0
