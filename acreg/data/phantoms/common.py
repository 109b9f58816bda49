"""What the phantoms have in common: smooth invertible maps between subjects, soft edges, seeds, writing a dataset.

Points are in unit coordinates, from 0 to 1 between the edges along each array axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from acreg.data.manifest import Dataset, Record
from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import Image, write_image
from acreg.progress import Progress, counted

Array = NDArray[np.float64]
Seed = int | Sequence[int]


class Phantom(NamedTuple):
    """The image of a subject, float32 `(*spatial)` in 0..255, and its labels, int32 `(*spatial)`."""

    image: NDArray[np.float32]
    labels: NDArray[np.int32]


@dataclass(frozen=True)
class Anatomy:
    """The map from a subject to the template: an affine map, then local bumps, then gentle waves.

    Attributes:
        matrix, offset: template = matrix @ (point - 0.5) + 0.5 + offset; `(rank, rank)` and `(rank,)`.
        bumps: groups of rows (centre, width, stretch, shift), each with `rank` numbers. A group subtracts the
            sum of exp(-|(x - centre) / width|^2 / 2) * (stretch * (x - centre) + shift), so that the region of a
            positive stretch is larger in the subject. To be invertible, the sum must be a contraction.
        waves: rows (wave vector, phase, amplitude) of rank + 1 + rank numbers.
    """

    matrix: Array
    offset: Array
    bumps: list[Array]
    waves: Array

    def _bend(self, step: int, points: Array) -> Array:
        """The vectors that a step adds to `points` `(rank, ...)`: a group of bumps or, after these, the waves."""
        bend = np.zeros_like(points)
        rank = len(points)
        if step == len(self.bumps):
            for numbers in self.waves:
                vector, phase, amplitude = numbers[:rank], numbers[rank], numbers[rank + 1 :]
                wave = np.sin(2 * np.pi * (sum(k * p for k, p in zip(vector, points)) + phase))
                bend += np.multiply.outer(amplitude, wave)
            return bend
        for numbers in self.bumps[step]:
            centre, width, stretch, shift = numbers.reshape(4, rank, *(1,) * (points.ndim - 1))
            away = points - centre
            bend -= np.exp(-0.5 * np.sum((away / width) ** 2, axis=0)) * (stretch * away + shift)
        return bend

    def to_template(self, points: Array) -> Array:
        """The points `(rank, ...)` of the template for points of a subject."""
        flat = points.reshape(len(points), -1) - 0.5
        result = (self.matrix @ flat + 0.5 + self.offset[:, None]).reshape(points.shape)
        for step in range(len(self.bumps) + 1):
            result = result + self._bend(step, result)
        return result

    def from_template(self, points: Array) -> Array:
        """The inverse of `to_template`, to 1e-9: each step is a contraction, so iteration finds its fixed point."""
        result = points
        for step in reversed(range(len(self.bumps) + 1)):
            target = result
            for _ in range(100):
                previous, result = result, target - self._bend(step, result)
                if np.abs(result - previous).max() < 1e-10:
                    break
        flat = result.reshape(len(points), -1) - 0.5 - self.offset[:, None]
        return (np.linalg.inv(self.matrix) @ flat + 0.5).reshape(points.shape)

    def displacement_to(self, other: Anatomy, shape: Sequence[int]) -> NDArray[np.float32]:
        """The displacement from this subject to another one: `(*shape, rank)`, voxels of a grid of this shape."""
        points = unit_grid(shape)
        displacement = other.from_template(self.to_template(points)) - points
        return (np.moveaxis(displacement, 0, -1) * shape).astype(np.float32)


def limited_normal(rng: np.random.Generator, sd: float) -> float:
    """A normal random number with mean 0, clipped at two standard deviations."""
    return sd * float(np.clip(rng.standard_normal(), -2.0, 2.0))


def soft_step(distance: Array, width: float) -> Array:
    """A smooth step from 0 to 1 across a soft edge of this width."""
    share = np.clip(0.5 + distance / width, 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def unit_grid(shape: Sequence[int]) -> Array:
    """The points `(rank, *shape)` of voxel centres."""
    return np.stack(np.meshgrid(*((np.arange(size) + 0.5) / size for size in shape), indexing="ij"))


def streams(seed: Seed) -> tuple[np.random.Generator, np.random.Generator]:
    """The random number generators of a subject's anatomy and of its appearance.

    Raises:
        AcregError: the seed is negative or missing.
    """
    parts = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    if not parts or min(parts) < 0:
        raise AcregError(f"A seed is a number that is not negative, or several. Received: seed={seed}.")
    return np.random.default_rng([*parts, 0]), np.random.default_rng([*parts, 1])


def with_displacement(
    fixed: tuple[Phantom, Anatomy], moving: tuple[Phantom, Anatomy]
) -> tuple[Phantom, Phantom, NDArray[np.float32]]:
    """Two subjects on one grid and the exact displacement `(*shape, rank)` from the first to the second, in voxels."""
    return fixed[0], moving[0], fixed[1].displacement_to(moving[1], fixed[0].image.shape)


def write_phantoms(
    folder: Path,
    name: str,
    draw: Callable[[int], Phantom],
    subjects: int,
    grid: Grid,
    suffix: str,
    label_names: Mapping[int, str],
    source: str,
    progress: Progress | None = None,
) -> Dataset:
    """Write phantoms as a prepared dataset: images and labels, `dataset.json`, then `manifest.csv`.

    The first 60 % of the subjects are the training split, the next 20 % validation, the rest test.

    Args:
        folder: the folder to write.
        name: name of the dataset.
        draw: returns the phantom for the number of a subject, on `grid`.
        subjects: number of subjects.
        grid: grid of all images.
        suffix: suffix of the files, which sets their format.
        label_names: value -> name.
        source: the call that makes the same dataset.
        progress: called with (text, done, total).

    Raises:
        AcregError: there are fewer than 10 subjects.
        OSError: the folder cannot be written.
    """
    if subjects < 10:
        raise AcregError(f"A split of 60/20/20 needs 10 subjects or more. Received: subjects={subjects}.")
    records = []
    for number in counted(range(subjects), f"Making {name}", subjects, progress):
        phantom = draw(number)
        subject = f"phantom{number:03d}"
        split = ("train", "train", "train", "validation", "test")[number * 5 // subjects]
        labels = folder / "labels" / f"{subject}{suffix}"
        record = Record(subject, folder / "images" / f"{subject}{suffix}", labels, split)
        write_image(Image(phantom.image, grid), record.image)
        write_image(Image(phantom.labels, grid, kind="labels"), labels)
        records.append(record)
    dataset = Dataset(
        folder=folder,
        name=name,
        records=records,
        label_names=dict(label_names),
        spacing=grid.spacing,
        unit="mm",
        licence="Apache-2.0",
        source=source,
    )
    dataset.save()
    return dataset
