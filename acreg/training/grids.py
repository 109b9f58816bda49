"""A network's grid that covers the images of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from acreg.data.manifest import Dataset, Record, dataset_folder
from acreg.io import Image, Preprocessing
from acreg.training.schema import Recipe

STEP = 16
"""Sizes are multiples of this, as label autoencoders and most networks need them."""
READ = 32
"""Number of images, evenly spread over the manifest, of which the sizes are read."""
USUAL = {2: 64**2, 3: 64**3}
"""Number of voxels by number of axes, where no recipe or preset says what is affordable."""


@dataclass(frozen=True)
class Sizes:
    """What the grid of a network depends on.

    Attributes:
        extents: `(n, rank)`, mm: the size of each image that was read, along the axes of the network, without padding.
        spacing: the median of their spacings by axis.
        shape: of the first image as it is stored, along the axes of the network.
    """

    extents: np.ndarray
    spacing: tuple[float, ...]
    shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.spacing)


def read_sizes(dataset: Dataset, records: Sequence[Record], trim: bool = True) -> Sizes:
    """The sizes of some images of a dataset; errors as of `acreg.io.read_image`."""
    chosen = [records[i] for i in np.unique(np.linspace(0, len(records) - 1, READ).astype(int))]
    first = dataset.read_image(chosen[0])
    preprocessing = Preprocessing(shape=(STEP,) * first.grid.rank, trim=trim)
    # One image at a time is in memory. Images with other numbers of axes are reported when they are read for training.
    images = (image for image in map(dataset.read_image, chosen) if image.grid.rank == first.grid.rank)
    grids = [preprocessing.content(image) for image in images]
    extents = np.array([np.multiply(grid.shape, grid.spacing) for grid in grids])
    spacing = np.median([grid.spacing for grid in grids], axis=0)
    return Sizes(extents, tuple(float(f"{s:.4g}") for s in spacing), _stored(first))


def _stored(image: Image) -> tuple[int, ...]:
    return image.grid.reoriented().shape


def scaled_shape(sizes: Sizes, voxels: int) -> tuple[int, ...]:
    """A grid without a spacing, onto which each image is scaled: about so many voxels, in the images' proportions."""
    extent = np.median(sizes.extents, axis=0)
    scaled = extent * (voxels / extent.prod()) ** (1 / sizes.rank)
    return tuple(STEP * max(1, round(size / STEP)) for size in scaled)


def covering_shape(sizes: Sizes, spacing: Sequence[float]) -> tuple[int, ...]:
    """The smallest grid of this spacing that covers the largest extent along each axis."""
    return tuple(
        STEP * max(1, int(np.ceil(size / step / STEP - 1e-6))) for size, step in zip(sizes.extents.max(0), spacing)
    )


def covering_grid(
    sizes: Sizes, voxels: int, spacing: Sequence[float] | None = None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and spacing of a grid that covers every image with at most about so many voxels.

    The spacing is the given one, or that of the images. If it needs more than twice as many voxels, it is raised, along
    the axes where it is finest first, so that thick slices stay single rows as long as possible.
    """
    finest = sizes.spacing if spacing is None else tuple(spacing)
    most = max(2 * voxels, STEP**sizes.rank)
    chosen, least = finest, min(finest)
    while np.prod(covering_shape(sizes, chosen)) > most:
        least *= 1.02
        chosen = tuple(max(step, float(f"{least:.3g}")) for step in finest)
    return covering_shape(sizes, chosen), chosen


def inner_grid(sizes: Sizes, voxels: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and spacing of a grid that lies within nearly every image, for pairs that are made from one image.

    The border of an image moves with it: on a larger grid, networks learned to lay border on border.
    """
    least = np.percentile(sizes.extents, 5, axis=0)
    shape, _ = covering_grid(replace(sizes, extents=least[None]), voxels)
    return shape, tuple(float(f"{size / count:.3g}") for size, count in zip(least, shape))


def with_grid(recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> Recipe:
    """A recipe whose `data.shape` is not left to its default, if its images are volumes.

    Arguments:
        recipe: if its `data.shape` was given, it is returned as it is; likewise if its images have two axes.
        say: called with the grid that was chosen.
    """
    section = recipe.data
    if "shape" in section.model_fields_set:
        return recipe
    dataset = Dataset.load(dataset_folder(section.dataset))
    records = [record for split in section.train_splits for record in dataset.used_split(split)]
    if dataset.read_image(records[0]).grid.rank == 2:
        return recipe
    sizes = read_sizes(dataset, records, section.trim)
    changed: dict[str, Any]
    if section.velocities is not None:  # of images as they are stored
        changed = {"shape": sizes.shape}
    elif section.spacing is not None:
        changed = {"shape": covering_shape(sizes, section.spacing)}
    else:
        changed = dict(zip(("shape", "spacing"), covering_grid(sizes, USUAL[sizes.rank])))
    say(
        "The recipe leaves data.shape out. Grid that covers the images: "
        + ", ".join(f"data.{name}={list(value)}" for name, value in changed.items())
    )
    return Recipe.model_validate({**recipe.resolved(), "data": {**section.model_dump(mode="json"), **changed}})
