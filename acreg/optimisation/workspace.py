"""Two images on one working grid, by resolution: what the discrete and the continuous stage see."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from keras import ops
from numpy.typing import NDArray
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry import Grid, Image, Transform, labels_on
from acreg.geometry.displacement import slabs, voxel_indices
from acreg.geometry.maps import Map
from acreg.geometry.resize import sample_image
from acreg.layers.tensor import Tensor
from acreg.optimisation.guides import Guides
from acreg.optimisation.levels import Level

VOXELS = 3 * 2**19
"""Voxels of the finest working grid at most, up to rounding; images with more are registered with larger voxels."""
LONGEST = 2.0
"""The longest side of a working voxel, in shortest ones: windows and features need neighbours on all sides."""
PERCENTILES = (0.5, 99.5)
"""The grey values that become 0 and 1."""
LABELS = 2**25
"""The most numbers that labels of one image may need at a level: 128 MiB."""
SMALLEST = 12
"""The fewest voxels along an axis that is reduced for a coarser level."""
MARGIN = 3
"""Voxels around the content of an image with a background."""
BACKGROUND = 0.5
"""The share of an image's outermost voxels with its background value from which that value is known beyond, too."""


@dataclass(frozen=True, eq=False)
class Content:
    """The part of an image that is registered, with axes nearest to those of the world.

    Args:
        array: float32, the grey values scaled to [0, 1]; 0 outside of the mask.
        grid: its grid.
        mask: what counts, ``(*spatial)``; None for all of it.
        continues: whether the image is known to be 0 beyond this part, as that of a skull-stripped brain is.
    """

    array: NDArray[np.float32]
    grid: Grid
    mask: NDArray[np.bool_] | None
    continues: bool

    @classmethod
    def of(cls, image: Image, role: str, mask: Image | None = None) -> Content:
        """The content of an image: without a border of one value, and within the box of its mask.

        Raises:
            AcregError: the image has one value, or one value within its mask; the mask is empty or does not fit.
        """
        grid = image.grid.reoriented()
        array = sample_image(image.array, image.grid, grid, 0.0)
        inside = None
        if mask is not None:
            placed = labels_on(mask, image)
            inside = sample_image((placed.array != 0).astype(np.float32), image.grid, grid, 0.0) > 0.5
            if not inside.any():
                raise AcregError(
                    f"A mask says where an image counts. Received: {mask.name or 'a mask'} of the {role} image, which "
                    "is 0 everywhere on it. Leave the mask out, or draw it on this image."
                )
            array = np.where(inside, array, np.float32(0))
        counted = array[inside] if inside is not None else array
        if np.ptp(counted) == 0:
            where = " within its mask" if inside is not None else ""
            raise AcregError(
                f"Images to register show something. Received: {image.name or role}, the {role} image, which has the "
                f"value {counted.flat[0]:g} everywhere{where}. Look at the file."
            )
        background = array[(0,) * array.ndim]
        box = _box(array != background if inside is None else inside)
        shell = _shell(array[box] == background)
        array, inside = array[box], None if inside is None else inside[box]
        low, high = np.percentile(array[array != background] if inside is None else array[inside], PERCENTILES)
        scaled = np.clip((array - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
        if inside is not None:
            scaled[~inside] = 0
        start = [part.start for part in box]
        return cls(scaled, grid.part(start, scaled.shape), inside, mask is None and bool(shell > BACKGROUND))

    def on(self, grid: Grid, maps: Sequence[Map]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The grey values at the voxels of another grid, whose points the maps take to this image; and weights.

        Returns:
            ``(*grid.shape)``, 0 where nothing is known; and 1 where a value is known and counts, 0 elsewhere. No
            weights mean that all count.
        """
        whole = Transform(grid, self.grid, tuple(maps))
        matrix = np.linalg.solve(self.grid.matrix, whole.affine_part.matrix @ grid.matrix)
        steps = np.linalg.norm(matrix[:-1, :-1], axis=1)
        sigma = 0.5 * np.sqrt(np.maximum(steps**2 - 1, 0))
        array = ndimage.gaussian_filter(self.array, sigma, mode="nearest") if sigma.max() > 0.1 else self.array
        values, weights = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
        for part in slabs(grid.shape):
            voxels = voxel_indices(grid.shape, part)
            points = grid.to_world(voxels.reshape(-1, grid.rank))
            at = self.grid.to_index(points if not maps else whole.warp_points(points, to="moving"))
            known = self.grid.contains(at)
            found = ndimage.map_coordinates(array, at.T, order=1, mode="nearest")
            if self.mask is not None:
                share = ndimage.map_coordinates(self.mask.astype(np.float32), at.T, order=1, mode="nearest")
                known &= share > 0.999
            values[part] = np.where(known, found, 0).reshape(voxels.shape[:-1])
            weights[part] = known.reshape(voxels.shape[:-1])
        return values, None if self.continues or weights.all() else weights


@dataclass(frozen=True, eq=False)
class Workspace:
    """Two images on one working grid.

    Args:
        fixed, moving: their contents.
        maps: their composition takes fixed points to moving points.
        voxels: the largest number of voxels of the finest grid, up to rounding.
    """

    fixed: Content
    moving: Content
    maps: tuple[Map, ...]
    voxels: int = VOXELS

    @classmethod
    def of(cls, fixed: Image, moving: Image, guides: Guides, maps: tuple[Map, ...], voxels: int) -> Workspace:
        """The workspace of two images, with the masks among the guides.

        Raises:
            AcregError: as `Content.of`.
        """
        contents = Content.of(fixed, "fixed", guides.fixed_mask), Content.of(moving, "moving", guides.moving_mask)
        return cls(*contents, maps, voxels)

    @cached_property
    def grid(self) -> Grid:
        """The finest working grid: the voxels of the fixed image, larger or shorter ones; a margin where 0 continues.

        Its sizes are multiples of `multiple`, so that few different sizes occur: XLA compiles for each.
        """
        own = self.fixed.grid
        margin = MARGIN if self.fixed.continues else 0
        spacing = self._spacing
        wanted = [(n * s) / t + 2 * margin for n, s, t in zip(own.shape, own.spacing, spacing, strict=True)]
        shape = [max(m, math.ceil(round(n, 3) / m) * m) for n, m in zip(wanted, self.multiple, strict=True)]
        # The voxels are those of the image where the spacing is.
        whole = [round((n - own_n) / 2) for n, own_n in zip(shape, own.shape, strict=True)]
        centre = [
            (n - 1) / 2 - w if s == t else (own_n - 1) / 2
            for n, w, s, t, own_n in zip(shape, whole, own.spacing, spacing, own.shape, strict=True)
        ]
        return own.centred(centre, shape, spacing)

    @cached_property
    def _spacing(self) -> tuple[float, ...]:
        """Of the working grid: thick slices are divided; with too many voxels, the shortest sides grow."""
        extent = np.array(self.fixed.grid.spacing) * self.fixed.grid.shape
        side = min(self.fixed.grid.spacing)
        own = np.minimum(self.fixed.grid.spacing, LONGEST * side)
        while math.prod(np.ceil(extent / np.maximum(own, side))) > self.voxels:
            side *= 1.05
        return tuple(np.maximum(own, side).tolist())

    def factors(self, level: int) -> tuple[int, ...]:
        """Reduction along each axis at a level: 2**level along the axes with the smallest voxels, less along others."""
        side = min(self._spacing) * 2**level
        return tuple(2 ** max(0, min(level, round(math.log2(side / s)))) for s in self._spacing)

    @cached_property
    def levels(self) -> int:
        """How many levels there are."""
        extent = np.array(self.fixed.grid.spacing) * self.fixed.grid.shape / self._spacing
        count = 1
        while count < 4 and all(f == 1 or n / f >= SMALLEST for n, f in zip(extent, self.factors(count), strict=True)):
            if self.factors(count) == self.factors(count - 1):
                break
            count += 1
        return count

    @cached_property
    def multiple(self) -> tuple[int, ...]:
        """What divides the sizes of the working grid."""
        return self.factors(self.levels)

    @cached_property
    def _arrays(self) -> list[NDArray[np.float32] | None]:
        fixed, moving = self.fixed.on(self.grid, ()), self.moving.on(self.grid, self.maps)
        for (array, weights), role in ((fixed, "fixed"), (moving, "moving")):
            seen = array if weights is None else weights
            if np.count_nonzero(seen) < seen.size / 1000:
                raise AcregError(
                    "Images to register overlap. Received: a moving image of which nothing lies over the fixed image "
                    f"after the linear registration ({role} image). See both with `acreg inspect`, or give `--initial`."
                )
        return [fixed[0], moving[0], fixed[1], moving[1]]

    def level(self, number: int) -> Level:
        """The images at a level; 0 is the finest."""
        factors = self.factors(number)
        fixed, moving, fixed_weights, moving_weights = (
            None if each is None else ops.convert_to_tensor(each[None, ..., None]) for each in self._arrays
        )
        fixed, fixed_weights = _pooled(fixed, fixed_weights, factors)
        moving, moving_weights = _pooled(moving, moving_weights, factors)
        return Level(self.coarser(factors), fixed, moving, fixed_weights, moving_weights, factors)

    def field_grid(self, number: int) -> Grid:
        """The grid of the field at a level: as coarse as the next level."""
        return self.coarser(self.factors(number + 1))

    def features(self, number: int, of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Features of both images at a level: means of those at the next finer level, which are sharper."""
        level, finer = self.level(number), self.level(max(number - 1, 0))
        factors = tuple(a // b for a, b in zip(level.factors, finer.factors, strict=True))
        pairs = ((finer.fixed, finer.fixed_weights), (finer.moving, finer.moving_weights))
        fixed, moving = (_pooled(of(image), weights, factors)[0] for image, weights in pairs)
        return fixed, moving

    def one_hot(self, number: int, fixed: Image, moving: Image) -> tuple[Tensor, Tensor] | None:
        """Labels that both images have, at a level: the share of each in each voxel, ``(1, *grid.shape, 1 + labels)``.

        The first channel is left at 0. None where they would need more than `LABELS` numbers.

        Raises:
            AcregError: the two label maps have no label in common.
        """
        values = np.intersect1d(fixed.array, moving.array)
        values = values[values != 0]
        if not values.size:
            raise AcregError(
                "Labels that guide a registration occur in both images. Received: two label maps without a label in "
                "common. Give label maps of one scheme."
            )
        level = self.level(number)
        if (values.size + 1) * math.prod(level.grid.shape) > LABELS:
            return None
        found = []
        for labels, maps in ((fixed, ()), (moving, self.maps)):
            placed = Transform(self.grid, labels.grid, maps).warp_labels(labels, "nearest").array
            shape = [n for size, f in zip(level.grid.shape, level.factors, strict=True) for n in (size, f)]
            blocks = placed.reshape(shape)
            axes = tuple(range(1, len(shape), 2))
            shares = [(blocks == value).mean(axis=axes, dtype=np.float32) for value in values]
            found.append(ops.convert_to_tensor(np.stack([np.zeros_like(shares[0]), *shares], axis=-1)[None]))
        return found[0], found[1]

    def coarser(self, factors: Sequence[int]) -> Grid:
        """The working grid with larger voxels."""
        return reduced(self.grid, factors)


def reduced(grid: Grid, factors: Sequence[int]) -> Grid:
    """A grid over the same extent with voxels that are larger by whole factors, which divide its sizes."""
    shape = [n // f for n, f in zip(grid.shape, factors, strict=True)]
    spacing = tuple(s * f for s, f in zip(grid.spacing, factors, strict=True))
    return grid.centred((np.array(grid.shape) - 1) / 2, shape, spacing)


def _pooled(x: Tensor, weights: Tensor | None, factors: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """Means over blocks of voxels, weighted; a block of which less than half is known does not count."""
    if max(factors) == 1:
        return x, weights

    def pool(y: Tensor) -> Tensor:
        return ops.average_pool(y, factors, factors, "valid", data_format="channels_last")

    if weights is None:
        return pool(x), None
    known = pool(weights)
    return pool(x * weights) / ops.maximum(known, 1e-6), ops.cast(known >= 0.5, "float32")


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box that holds a mask."""
    found = []
    for axis in range(mask.ndim):
        along = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        found.append(slice(int(along[0]), int(along[-1]) + 1))
    return tuple(found)


def _shell(mask: NDArray[np.bool_]) -> float:
    """The share of a mask in the outermost voxels."""
    faces = [np.take(mask, end, axis=axis).ravel() for axis in range(mask.ndim) for end in (0, -1)]
    return float(np.concatenate(faces).mean())
