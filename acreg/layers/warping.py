"""Sampling of images at displaced positions, with its own gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import keras
from keras import ops

from acreg.layers.compiled import compiled
from acreg.layers.tensor import Tensor

INTERPOLATIONS = ("linear", "nearest")
BORDERS = ("edge", "constant")

_gradients: ContextVar[bool] = ContextVar("gradients", default=True)


@contextmanager
def no_gradients() -> Iterator[None]:
    """Sampling in the block uses no custom gradient.

    TensorFlow keeps each graph with a custom gradient until the process ends; a model that only registers does not
    need it.
    """
    token = _gradients.set(False)
    try:
        yield
    finally:
        _gradients.reset(token)


def spatial_shape(x: Tensor) -> tuple[int | Tensor, ...]:
    """The sizes between batch and channels; entries that are not known statically are scalar tensors."""
    dynamic = ops.shape(x)
    return tuple(d if s is None else s for s, d in zip(x.shape[1:-1], dynamic[1:-1], strict=True))


def warp(
    image: Tensor,
    displacement: Tensor,
    interpolation: str = "linear",
    border: str = "edge",
    fill_value: float = 0.0,
) -> Tensor:
    """Samples ``image`` at ``p + displacement(p)``.

    Args:
        image: ``(batch, *spatial, channels)``, any dtype; integers are made float32 when interpolation is linear.
        displacement: ``(batch, *grid, rank)``, voxels of ``image``'s grid. ``grid`` may differ from ``spatial``: the
            result then lies on ``grid``, whose voxel ``p`` corresponds to voxel ``p`` of the image.
        interpolation: ``"linear"`` (in float32) or ``"nearest"`` (no gradient with respect to the displacement).
        border: ``"edge"`` repeats the nearest edge value; ``"constant"`` uses ``fill_value`` for every voxel outside.
        fill_value: value outside for ``border="constant"``.

    Returns:
        ``(batch, *grid, channels)`` of `warped_dtype`.
    """
    displacement = ops.cast(displacement, "float32")
    dtype = warped_dtype(image.dtype, interpolation)
    if interpolation == "nearest":
        return _nearest(image, displacement, border, fill_value)
    if "float" not in keras.backend.standardize_dtype(image.dtype):
        image = ops.cast(image, "float32")
    plain, with_gradient = _linear(border, float(fill_value))
    return ops.cast((with_gradient if _gradients.get() else plain)(image, displacement), dtype)


class _Corners:
    """The voxels around each sampled position, and their weights.

    Args:
        sizes: spatial, of the image.
        displacement: ``(batch, *grid, rank)``, float32.
        border, interpolation: see `warp`.
    """

    def __init__(
        self, sizes: Sequence[int | Tensor], displacement: Tensor, border: str, interpolation: str = "linear"
    ) -> None:
        self.rank = displacement.shape[-1]
        self.constant = border == "constant"
        grid, batch = spatial_shape(displacement), ops.shape(displacement)[0]
        self.strides = [1] * self.rank
        for axis in range(self.rank - 2, -1, -1):
            self.strides[axis] = self.strides[axis + 1] * sizes[axis + 1]
        self.count = batch * self.strides[0] * sizes[0]
        first = ops.arange(batch, dtype="int32") * (self.strides[0] * sizes[0])
        self.first = ops.reshape(first, (-1,) + (1,) * self.rank)
        self.index: list[list[Tensor]] = []
        """For each axis: the lower and the upper neighbour (only one for nearest)."""
        self.known: list[list[Tensor]] = []
        """For each axis: whether these lie in the image; for a constant border."""
        self.weight: list[Tensor] = []
        """For each axis: the weight of the upper neighbour."""
        self.moves: list[Tensor] = []
        """For each axis: whether the sample depends on its position, which it does not once the position is clipped."""
        for axis in range(self.rank):
            along = ops.arange(grid[axis], dtype="float32")
            along = ops.reshape(along, tuple(-1 if a == axis else 1 for a in range(self.rank)))
            self._add_axis(displacement[..., axis] + along, sizes[axis], interpolation)

    def _add_axis(self, position: Tensor, size: int | Tensor, interpolation: str) -> None:
        last, end = size - 1, ops.cast(size, "float32")
        if interpolation == "nearest":
            # a position that is not a number has an arbitrary index
            index = ops.cast(ops.floor(ops.clip(position, 0, end - 1) + 0.5), "int32")
            self.index.append([ops.clip(index, 0, last)])
            if self.constant:
                self.known.append([ops.logical_and(position >= -0.5, position < end - 0.5)])
            return
        low, high = (-1.0, end) if self.constant else (0.0, end - 1)
        inside = ops.clip(position, low, high)
        start = ops.floor(inside)
        index = ops.cast(start, "int32")
        self.weight.append(inside - start)
        self.moves.append(ops.logical_and(position >= low, position <= high))
        self.index.append([ops.clip(index, 0, last), ops.clip(index + 1, 0, last)])
        if self.constant:
            self.known.append([ops.logical_and(i >= 0, i <= last) for i in (index, index + 1)])

    def place(self, corner: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """For one corner (0 or 1 for each axis), the positions in the flattened image and whether they lie in it."""
        place, known = self.first, None
        for axis, high in enumerate(corner):
            place = place + self.index[axis][high] * self.strides[axis]
            if self.constant:
                valid = self.known[axis][high]
                known = valid if known is None else ops.logical_and(known, valid)
        return place, known

    def gather(self, flat: Tensor, corner: Sequence[int], fill_value: float) -> Tensor:
        """The values of one corner, ``(batch, *grid, channels)``, of an image as ``(voxels, channels)``."""
        place, known = self.place(corner)
        values = ops.take(flat, place, axis=0)
        if known is not None:
            values = ops.where(known[..., None], values, ops.cast(fill_value, values.dtype))
        return values


def _nearest(image: Tensor, displacement: Tensor, border: str, fill_value: float) -> Tensor:
    corners = _Corners(spatial_shape(image), displacement, border, "nearest")
    return corners.gather(ops.reshape(image, (-1, image.shape[-1])), (0,) * corners.rank, fill_value)


@lru_cache(maxsize=16)
def _linear(border: str, fill_value: float) -> tuple[Callable[[Tensor, Tensor], Tensor], ...]:
    """Linear interpolation as a function of image and displacement, float32: plain, and with its own gradient.

    The gradient gathers the corners again instead of keeping them. The gradient with respect to the image, a scatter,
    is a separate function, so that a graph does not compute it if it is not needed.
    """

    def sample(image: Tensor, displacement: Tensor) -> Tensor:
        corners = _Corners(spatial_shape(image), displacement, border)
        flat = ops.reshape(image, (-1, image.shape[-1]))

        def interpolate(corner: tuple[int, ...]) -> Tensor:
            if len(corner) == corners.rank:
                return ops.cast(corners.gather(flat, corner, fill_value), "float32")
            low, high = interpolate((*corner, 0)), interpolate((*corner, 1))
            return low + (high - low) * corners.weight[len(corner)][..., None]

        return interpolate(())

    def displacement_gradient(image: Tensor, displacement: Tensor, upstream: Tensor) -> Tensor:
        corners = _Corners(spatial_shape(image), displacement, border)
        flat = ops.reshape(image, (-1, image.shape[-1]))

        def slopes(corner: tuple[int, ...]) -> list[Tensor]:
            """The value and its derivatives along the axes after the corner's last one, summed over the channels."""
            if len(corner) == corners.rank:
                return [ops.sum(ops.cast(corners.gather(flat, corner, fill_value), "float32") * upstream, axis=-1)]
            low, high, weight = slopes((*corner, 0)), slopes((*corner, 1)), corners.weight[len(corner)]
            between = [a + (b - a) * weight for a, b in zip(low, high, strict=True)]
            return [between[0], high[0] - low[0], *between[1:]]

        total: Tensor = 0.0
        for axis, (moves, slope) in enumerate(zip(corners.moves, slopes(())[1:], strict=True)):
            # A sum, because XLA computes the parts of a stack one by one, each with its own gathers.
            along = ops.cast(ops.arange(corners.rank) == axis, "float32")
            total = total + ops.where(moves, slope, ops.cast(0.0, "float32"))[..., None] * along
        return total

    def image_gradient(image: Tensor, displacement: Tensor, upstream: Tensor) -> Tensor:
        corners = _Corners(spatial_shape(image), displacement, border)
        channels = image.shape[-1]
        # On a CPU, XLA adds four numbers at once, but three one by one, which takes twice as long.
        width = 4 if channels == 3 else channels
        upstream = ops.pad(upstream, [(0, 0)] * (corners.rank + 1) + [(0, width - channels)])
        total: Tensor = 0.0
        for corner in itertools.product((0, 1), repeat=corners.rank):
            place, known = corners.place(corner)
            share: Tensor = 1.0
            for high, weight in zip(corner, corners.weight, strict=True):
                share = share * (weight if high else 1.0 - weight)
            if known is not None:
                share = ops.where(known, share, ops.cast(0.0, "float32"))
            parts = ops.reshape(share[..., None] * upstream, (-1, width))
            total = total + ops.segment_sum(parts, ops.reshape(place, (-1,)), num_segments=corners.count)
        return ops.cast(ops.reshape(total[:, :channels], ops.shape(image)), image.dtype)

    forward, along_displacement, along_image = (compiled(f) for f in (sample, displacement_gradient, image_gradient))

    @ops.custom_gradient
    def linear(image: Tensor, displacement: Tensor) -> tuple[Tensor, Callable[..., tuple[Tensor, Tensor]]]:
        def gradient(*arguments: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, Tensor]:
            given = arguments[0] if upstream is None else upstream
            return along_image(image, displacement, given), along_displacement(image, displacement, given)

        return forward(image, displacement), gradient

    return forward, linear


def warped_dtype(dtype: Any, interpolation: str) -> str:
    """The dtype of a warped image: the image's own, but float32 for linearly interpolated integers."""
    name = keras.backend.standardize_dtype(dtype)
    return "float32" if interpolation == "linear" and "float" not in name else name
