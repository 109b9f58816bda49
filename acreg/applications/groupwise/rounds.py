"""A group registered to its mean, in rounds: linear rounds, then rounds with a velocity."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acreg.applications.batch.items import Item
from acreg.applications.groupwise.averages import Mean, logarithm, mean_affine, mean_image, template_grid
from acreg.applications.groupwise.states import Registered, States
from acreg.errors import AcregError
from acreg.geometry import Affine, Grid, Image, Transform, Velocity, warp_array
from acreg.geometry.maps import Map
from acreg.io import read_image
from acreg.io.formats import is_picture
from acreg.names import some
from acreg.optimisation import Engine, Guides
from acreg.progress import Progress

LINEAR_ROUNDS = 2
"""Linear rounds: to the reference, then to the first mean."""


@dataclass(eq=False)
class Group:
    """A group of images that is registered to its mean.

    Args:
        items: the images.
        states: where the results of each round are stored.
        linear: the engine of the linear rounds, which find an affine map for each image.
        deformable: the engine of the other rounds; its transforms are a velocity, then the affine map that it is given.
        reference: number of the image to which all others are registered first; None for the first that can be read.
        linear_rounds: how many there are.
        spacing, sharpen: see `template_grid` and `mean_image`.
        progress: called with (text, done, total) after each registration.

    Attributes:
        failures: for each image that failed, by its number: the round and the reason.
        maps: for the others, the maps from the template to each image.
        template: the mean image.
        records: what each round did.
    """

    items: Sequence[Item]
    states: States
    linear: Engine
    deformable: Engine
    reference: int | None = None
    linear_rounds: int = LINEAR_ROUNDS
    spacing: float | None = None
    sharpen: float = 0.0
    progress: Progress | None = None
    say: Callable[[str], None] = lambda _: None
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)
    maps: dict[int, tuple[Map, ...]] = field(default_factory=dict)
    template: Image | None = None
    records: list[dict[str, Any]] = field(default_factory=list)

    def align(self) -> None:
        """The linear rounds.

        Raises:
            AcregError: the reference cannot be read, or fewer than two images can be registered.
        """
        fixed = self._reference()
        for number in range(1, self.linear_rounds + 1):
            name = f"linear {number}"
            found = self._round(name, fixed, self.linear)
            affines = {n: each.affine for n, each in found.items() if each.affine is not None}
            back = mean_affine(list(affines.values())).inverse()
            maps = {n: Affine(each.matrix @ back.matrix) for n, each in affines.items()}
            grid = template_grid([self._read(n).grid for n in maps], list(maps.values()), self.spacing)
            if all(is_picture(self.items[n].image) for n in maps):  # pictures have no place: the template is one, too
                place = Affine(grid.matrix)
                maps = {n: Affine(each.matrix @ place.matrix) for n, each in maps.items()}
                grid = Grid(grid.shape)
            self.maps = {n: (each,) for n, each in maps.items()}
            fixed = self._mean(name, grid, {})
        self.template = fixed

    def deform(self, number: int) -> float:
        """A round with a velocity; the relative change of the template.

        The mean of the velocities is removed: each image is then reached from the template by the flow of the negative
        mean velocity, the flow of its own velocity, and its affine map.
        """
        name = f"round {number}"
        before = self.template
        if before is None:
            raise ValueError("The linear rounds come first.")
        found = self._round(name, before, self.deformable)
        velocities = {n: each.velocity for n, each in found.items() if each.velocity is not None}
        grid = next(iter(velocities.values())).grid
        mean = Velocity(np.mean([each.vectors for each in velocities.values()], axis=0), grid)
        self.maps = {
            n: (mean.inverse(), velocity, *(each for each in self.maps[n] if isinstance(each, Affine)))
            for n, velocity in velocities.items()
        }
        self.template = self._mean(name, before.grid, bias(mean, list(velocities.values())))
        change = self.template.array - before.array
        self.records[-1]["change"] = float(np.sqrt(np.mean(change**2)) / max(before.array.std(), 1e-12))
        return float(self.records[-1]["change"])

    def mean(self) -> Mean:
        """The mean of the warped images, as they are."""
        if self.template is None:
            raise ValueError("The linear rounds come first.")
        return mean_image(self.template.grid, ((self._read(n), maps) for n, maps in self.maps.items()))

    def _round(self, name: str, fixed: Image, engine: Engine) -> dict[int, Registered]:
        """Register all images that have not failed to a fixed image."""
        going = [n for n in range(len(self.items)) if n not in self.failures]
        found: dict[int, Registered] = {}
        for done, n in enumerate(going, 1):
            result = self.states.registered(name, n)
            if result is None:
                result = self._register(n, fixed, engine)
                self.states.keep(name, n, result)
            if result.failure:
                self.failures[n] = (name, result.failure)
                self.maps.pop(n, None)
                self.say(f"{self.items[n].name} failed and is left out: {result.failure}")
            else:
                found[n] = result
            if self.progress:
                self.progress(f"{name}: {self.items[n].name}", done, len(going))
        if len(found) < 2:
            raise AcregError(
                "A template is the mean of at least two images. Received: "
                f"{len(found)} of {len(self.items)} that could be registered; {self._reasons()} Correct the images, "
                "and give another --out."
            )
        return found

    def _register(self, n: int, fixed: Image, engine: Engine) -> Registered:
        try:
            moving = self._read(n)
            initial = Transform(fixed.grid, moving.grid, self._affine(n)) if n in self.maps else None
            maps = engine.register(fixed=fixed, moving=moving, guides=Guides(initial=initial)).transform.maps
            if engine is self.linear:
                affine = Transform(fixed.grid, moving.grid, maps).affine_part
                logarithm(affine)
                return Registered(affine)
            velocity = maps[0]
            if not isinstance(velocity, Velocity):
                raise ValueError("The engine of the deformable rounds finds velocities.")
            return Registered(velocity=velocity)
        except (AcregError, OSError) as error:
            return Registered(failure=" ".join(str(error).split()))

    def _affine(self, n: int) -> tuple[Map, ...]:
        return tuple(each for each in self.maps[n] if isinstance(each, Affine))

    def _mean(self, name: str, grid: Grid, facts: dict[str, Any]) -> Image:
        """The template of a round, of the images that have not failed."""
        stored = self.states.template(name)
        if stored is None:
            start = time.perf_counter()
            images = ((self._read(n), maps) for n, maps in self.maps.items())
            array = mean_image(grid, images, self.sharpen).image.array
            record = {"round": name, "images": len(self.maps), **facts, "mean_seconds": time.perf_counter() - start}
            self.states.keep_template(name, record, array)
            stored = record, array
        self.records.append(stored[0])
        return Image(stored[1], grid, name="the template", placed=True)

    def _reference(self) -> Image:
        """The image to which all are registered first."""
        if self.reference is not None:
            return self._read(self.reference)
        for n in range(len(self.items)):
            try:
                image = self._read(n)
            except (AcregError, OSError):  # its failure is recorded in the first round
                continue
            if np.ptp(image.array) > 0:
                return image
        return self._read(0)

    def _read(self, n: int) -> Image:
        return read_image(self.items[n].image)

    def _reasons(self) -> str:
        return some([f"{self.items[n].name}: {reason}" for n, (_, reason) in self.failures.items()], 2)


def bias(mean: Velocity, velocities: Sequence[Velocity]) -> dict[str, float]:
    """How far a template is from the middle of its images: root mean squares over the grid, in mm.

    Returns:
        ``mean_velocity_mm`` of the mean velocity and ``spread_mm`` of the differences from it; and of the mean of the
        displacements ``mean_displacement_mm``, and ``left_mm`` after the flow of the negative mean velocity.
    """
    shape = mean.vectors.shape
    back = mean.inverse().displacement.vectors
    before, after, spread = np.zeros(shape), np.zeros(shape), 0.0
    for each in velocities:
        flow = each.displacement.vectors
        before += flow
        after += back + np.stack([warp_array(flow[..., d], back) for d in range(mean.rank)], axis=-1)
        spread += _length(each.vectors - mean.vectors, mean) ** 2
    return {
        "mean_velocity_mm": _length(mean.vectors, mean),
        "spread_mm": float(np.sqrt(spread / len(velocities))),
        "mean_displacement_mm": _length(before / len(velocities), mean),
        "left_mm": _length(after / len(velocities), mean),
    }


def _length(vectors: NDArray[Any], field: Velocity) -> float:
    """The root mean square of the lengths of vectors in mm."""
    in_mm = vectors @ field.grid.matrix[:-1, :-1].T
    return float(np.sqrt(np.mean(np.sum(np.square(in_mm), axis=-1))))
