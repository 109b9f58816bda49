"""The linear stage of a registration, which needs NumPy alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from acreg.errors import AcregError, images_by_name
from acreg.geometry import Affine, Image, Transform
from acreg.geometry.maps import Map
from acreg.optimisation.guides import Guides
from acreg.optimisation.linear import linear


@dataclass(frozen=True, eq=False)
class EngineResult:
    """A registered pair.

    Args:
        transform: takes fixed points to moving points, on the grid of the fixed image.
        contrast: "one" or "two": whether the same tissue has the same grey values in both images; empty if only the
            linear stage ran.
        stages: what each stage did, in order.
    """

    transform: Transform
    contrast: str
    stages: list[dict[str, Any]] = field(default_factory=list)


class Alignment:
    """Registers two images linearly, or places them as their headers or an initial transform say.

    Args:
        linear: "translation", "rigid", "similarity" or "affine"; None to start from the header, or from the initial
            transform.
        seed: of the samples.
    """

    def __init__(self, linear: str | None = "affine", seed: int = 0) -> None:
        self.linear, self.seed = linear, seed

    @images_by_name
    def register(
        self,
        *,
        fixed: Image,
        moving: Image,
        guides: Guides = Guides(),  # noqa: B008
        progress: Callable[[str], None] | None = None,
    ) -> EngineResult:
        """Args, errors: as `Engine.register`."""
        if fixed.grid.rank != moving.grid.rank:
            raise AcregError(
                "Two images that are registered have one number of axes. Received: "
                f"{fixed.name or 'fixed'} with {fixed.grid.rank}, {moving.name or 'moving'} with {moving.grid.rank}."
            )
        guides.check(fixed.grid, moving.grid)
        stages: list[dict[str, Any]] = []
        maps = self._maps(fixed, moving, guides, stages, progress or (lambda _: None))
        return EngineResult(Transform(fixed.grid, moving.grid, maps), "", stages)

    def _maps(
        self,
        fixed: Image,
        moving: Image,
        guides: Guides,
        stages: list[dict[str, Any]],
        say: Callable[[str], None],
    ) -> tuple[Map, ...]:
        initial = guides.initial
        if initial is not None and not all(isinstance(part, Affine) for part in initial.maps):
            say("the initial transform deforms: the linear stage is left out")
            return initial.maps
        if self.linear is None:
            both = fixed.has_place and moving.has_place
            if initial is not None:
                return initial.maps
            return () if both else (Affine.between_extents(fixed.grid.reoriented(), moving.grid.reoriented()),)
        start = time.perf_counter()
        affine, record = linear(
            fixed=fixed,
            moving=moving,
            kind=self.linear,
            fixed_mask=guides.fixed_mask,
            moving_mask=guides.moving_mask,
            initial=None if initial is None else initial.affine_part,
            seed=self.seed,
        )
        stages.append({"stage": "linear", **record, "seconds": time.perf_counter() - start})
        return (affine,)
