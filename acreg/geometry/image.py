"""An image or a label map with its grid."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.geometry.display import describe_image, image_html, png_or_none, safely
from acreg.geometry.grid import Grid
from acreg.geometry.pictures import image_png

Kind = Literal["intensity", "labels"]


@dataclass(frozen=True, eq=False)
class Image:
    """An image or a label map with its grid.

    Args:
        array: `(*spatial)` in array-axis order; kept as float32 for intensities and int32 for labels.
        grid: its grid, of the same shape.
        kind: "intensity" or "labels".
        name: the name in messages; for an image that was read, the path of the file.
        placed: whether its file has a header that gives its position, so that the origin also counts as a position.

    Raises:
        AcregError: shapes differ, an intensity is NaN or infinite, or a label is fractional or too large.
        UsageError: `kind` is neither of these.
    """

    array: np.ndarray
    grid: Grid
    kind: Kind = "intensity"
    name: str = ""
    placed: bool = False

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if self.kind not in ("intensity", "labels"):
            raise UsageError(f"An image holds 'intensity' or 'labels'. Received: kind={self.kind!r}.")
        if array.shape != self.grid.shape:
            raise AcregError(
                f"An image has the shape of its grid. Received: {self.name or 'array'} of shape {array.shape}, "
                f"grid {self.grid.shape}."
            )
        converted = _as_labels(array, self.name) if self.kind == "labels" else _as_intensity(array, self.name)
        object.__setattr__(self, "array", converted)

    def __repr__(self) -> str:
        return describe_image(self)

    def _repr_html_(self) -> str:
        """Display in a notebook: slices (see `acreg.geometry.pictures`), size, orientation and range of values."""
        return safely(lambda: image_html(self))

    def _repr_png_(self) -> bytes | None:
        """The slices alone."""
        return png_or_none(lambda: image_png(self))

    @property
    def digest(self) -> str:
        """A digest of the size and the voxels, the same for copies: names, formats and the position do not count."""
        return hashlib.sha256(repr(self.array.shape).encode() + self.array.tobytes()).hexdigest()

    @property
    def has_place(self) -> bool:
        """Whether its position is known, from the header of its file or from an origin or direction of its grid."""
        grid = self.grid
        moved = any(grid.origin) or not np.array_equal(grid.direction, np.eye(grid.rank))
        return self.placed or moved

    @classmethod
    def from_array(
        cls, array: np.ndarray, spacing: Sequence[float] | None = None, kind: Kind = "intensity", name: str = ""
    ) -> Image:
        """An image from an array `(*spatial)`; spacing in mm by array axis, 1 if left out."""
        array = np.asarray(array)
        return cls(array, Grid(array.shape, () if spacing is None else tuple(spacing)), kind, name)


def _check_numbers(array: np.ndarray, name: str) -> None:
    if array.dtype.kind not in "biuf":
        raise AcregError(f"The values of an image are real numbers. Received: {name or 'array'} of {array.dtype}.")


def _as_intensity(array: np.ndarray, name: str) -> np.ndarray:
    _check_numbers(array, name)
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise AcregError(
            f"The values of an image are finite numbers. Received: {name or 'array'} with {bad} NaN or infinite "
            f"values out of {array.size}. Replace them, for example by 0, and write the image again."
        )
    return array


def _as_labels(array: np.ndarray, name: str) -> np.ndarray:
    _check_numbers(array, name)
    limits = np.iinfo(np.int32)
    if array.dtype == bool or np.issubdtype(array.dtype, np.integer):
        integers = array
    else:
        integers = np.rint(array)
        if not np.array_equal(integers, array):
            example = array[integers != array].flat[0]
            raise AcregError(
                f"Labels are whole numbers. Received: {name or 'array'} with the value {example}. Give a label map, "
                "not an image or a label map that was resized with interpolation."
            )
    # As Python's numbers: NumPy would round the limit to the array's float32, and 2**31 would pass.
    low, high = (integers.min().item(), integers.max().item()) if integers.size else (0, 0)
    if low < limits.min or high > limits.max:
        raise AcregError(
            f"Labels fit into 32 bits. Received: {name or 'array'} with {low}..{high}. Give the labels smaller numbers."
        )
    return np.ascontiguousarray(integers, dtype=np.int32)
