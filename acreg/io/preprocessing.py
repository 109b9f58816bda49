"""The preprocessing of an image for a network: the same for training arrays and for a pair to register."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from acreg.errors import AcregError
from acreg.geometry import Image
from acreg.geometry.grid import Grid
from acreg.geometry.resample import inside
from acreg.geometry.resize import sample_image, sample_labels
from acreg.io.atomic import atomic_path
from acreg.io.documents import read_json
from acreg.io.histogram import LANDMARKS, mean_landmarks, standardise
from acreg.io.label_values import check_label_values

Intensity = Literal["minmax", "percentiles", "histogram", "divide_by_255"]
Centre = Literal["extent", "mass"]
MOST_VOXELS = 2**30
PERCENTILES = (0.5, 99.5)
SAME = 1e-3
"""Share of the intensity range by which the values of padding may differ: interpolation leaves ripples in it."""


class Preprocessing(BaseModel):
    """The preprocessing of an image and its labels for a network; saved with each preset.

    First, the network's grid is placed over the image, without changing any value:

    1. `orient`: the axes are put in the order and direction nearest to those of the world.
    2. `trim`: outer rows that hold one value each (padding, a frame of background) are ignored.
    3. `spacing`, `centre` and `shape`: without a spacing, the rest is scaled, by the same factor along all axes, to
       fill the shape; with a spacing, the grid has that spacing, lies around a centre, and crops or pads.

    Then the image is sampled on this grid, once. An axis that shrinks is averaged, and voxels outside the image get one
    of its lowest values (the 0.5 percentile). Finally, `window` clips the values and `intensity` scales them.

    A field on the network's grid is a field in physical space (`grid`), so nothing needs to be undone.

    Args:
        shape: size of the network's grid, array-axis order, 2 or 3 axes.
        spacing: mm per voxel of the network's grid by axis, or None.
        centre: with a spacing, the middle of the image's extent (after trimming), or the centre of mass of all voxels
            that are brighter than the median of its border: for heads and bodies in front of a background.
        orient: see above.
        trim: whether outer rows that hold one value each (padding, a frame of background) are ignored.
        window: (lowest, highest) value that is kept, for example in Hounsfield units; None keeps all values.
        intensity: "minmax" scales each image to [0, 1] by its own minimum and maximum on the network's grid, or by the
            window if there is one (a constant image becomes zeros). "percentiles" scales by the 0.5 and 99.5
            percentiles there and clips values beyond them, so that a few bright voxels do not determine the scale.
            "histogram" maps the landmarks of the histogram there to `landmarks` (see `acreg.io.histogram`), so that a
            tissue has about the same value in MR images of all scanners. "divide_by_255" divides by 255, for 8-bit
            images, and treats an image with values outside 0..255 (16 bits, CT) like "minmax".
        landmarks: for "histogram": the landmarks that `with_landmarks` learns from the training images, from 0 to 1.
        label_values: the values in label files, ascending, background 0 first. A network sees their position in this
            list: id `i` stands for `label_values[i]`, so ids never depend on the labels in a single image.
        label_names: a name for each value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None = None
    centre: Centre = "extent"
    orient: bool = True
    trim: bool = True
    window: tuple[float, float] | None = None
    intensity: Intensity = "minmax"
    landmarks: list[float] | None = None
    label_values: list[int] = Field(default_factory=lambda: [0])
    label_names: dict[int, str] = Field(default_factory=dict)

    @field_validator("shape")
    @classmethod
    def _shape_is_a_size(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) not in (2, 3) or min(shape) < 1 or math.prod(shape) > MOST_VOXELS:
            raise ValueError(f"shape must be 2 or 3 numbers of at least 1, of {MOST_VOXELS} voxels at most")
        return shape

    @field_validator("window")
    @classmethod
    def _window_is_a_range(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and not (np.isfinite(window).all() and window[0] < window[1]):
            raise ValueError("window must be two finite numbers, the lower first")
        return window

    @field_validator("label_values")
    @classmethod
    def _values_ascend_from_background(cls, values: list[int]) -> list[int]:
        if values[:1] != [0] or values != sorted(set(values)):
            raise ValueError("label_values must ascend without repetition and begin with the background, 0")
        return values

    @field_validator("landmarks")
    @classmethod
    def _landmarks_ascend(cls, landmarks: list[float] | None) -> list[float] | None:
        if landmarks is not None:
            ascending = landmarks == sorted(landmarks) and landmarks[:1] == [0] and landmarks[-1:] == [1]
            if len(landmarks) != LANDMARKS or not ascending:
                raise ValueError(f"landmarks must be {LANDMARKS} ascending numbers, the first 0 and the last 1")
        return landmarks

    @model_validator(mode="after")
    def _landmarks_are_of_the_histogram(self) -> Preprocessing:
        if self.landmarks is not None and self.intensity != "histogram":
            raise ValueError("landmarks belong to the intensity histogram")
        return self

    @model_validator(mode="after")
    def _spacing_fits(self) -> Preprocessing:
        given = self.spacing
        if given is not None and (len(given) != len(self.shape) or not all(0 < s < np.inf for s in given)):
            raise ValueError(f"spacing must be {len(self.shape)} positive numbers, one for each axis of shape")
        if self.window is not None and self.intensity != "minmax":
            raise ValueError("a window scales by its own bounds, so intensity must be minmax")
        return self

    def grid(self, image: Image) -> Grid:
        """The network's grid, of `shape`, placed over an image.

        Raises:
            AcregError: the image has another number of axes than `shape`.
        """
        if image.grid.rank != len(self.shape):
            raise AcregError(
                f"This preprocessing is for images with {len(self.shape)} axes. Received: {image.name or 'image'} "
                f"of shape {image.grid.shape}. Use a model for such images; in a recipe, data.shape has one number for "
                "each axis: (rows, columns) or (z, y, x)."
            )
        array, inner = self._trimmed(image)
        middle = (np.array(inner.shape) - 1) / 2
        if self.spacing is not None and self.centre == "mass":
            middle = _centre_of_mass(array, middle)
        centre = inner.to_world(middle)
        if self.orient:
            inner = inner.reoriented()
        spacing = self.spacing
        if spacing is None:
            extent = np.multiply(inner.shape, inner.spacing)
            spacing = (float((extent / self.shape).max()),) * inner.rank
        return inner.centred(inner.to_index(centre), self.shape, spacing)

    def content(self, image: Image) -> Grid:
        """The part of the image's own grid that the network's grid is placed over: after `orient` and `trim`."""
        inner = self._trimmed(image)[1]
        return inner.reoriented() if self.orient else inner

    def apply(self, image: Image, grid: Grid | None = None) -> np.ndarray:
        """Sample an image on the network's grid, then scale its intensities.

        Args:
            image: the image.
            grid: `grid(image)`, if it is known.

        Returns:
            float32 `(*shape, 1)`.

        Raises:
            AcregError: the image has another number of axes than `shape`, or landmarks are missing.
        """
        if self.intensity == "histogram" and self.landmarks is None:
            raise AcregError(
                "Intensities by histogram need the landmarks of training images. Received: intensity histogram without "
                "landmarks. `acreg train` learns them; in Python call Preprocessing.with_landmarks(images) first."
            )
        grid = self.grid(image) if grid is None else grid
        array, inner = self._trimmed(image)
        least, most = float(array.min()), float(array.max())
        array = _sampled(array, inner, grid)
        if self.landmarks is not None:
            return standardise(array, self.landmarks)[..., None]
        if self.intensity == "divide_by_255" and least >= 0 and most <= 255:
            return (array / np.float32(255))[..., None]
        if self.window is not None:
            low, high = self.window
        elif self.intensity == "percentiles":
            low, high = (float(value) for value in np.percentile(array, PERCENTILES))
        else:
            low, high = float(array.min()), float(array.max())
        array = np.clip(array, low, high)
        if high - low > 1e-6 * max(abs(low), abs(high)):  # a smaller range is rounding
            array = ((array.astype(np.float64) - low) / (high - low)).astype(np.float32)
        else:
            array = np.zeros_like(array)
        return array[..., None]

    def with_landmarks(self, images: Iterable[Image]) -> Preprocessing:
        """The same settings with the landmarks of training images, each taken on the network's grid.

        Raises:
            AcregError: all images are constant; see also `grid`.
        """
        try:
            landmarks = mean_landmarks(_sampled(*self._trimmed(image), self.grid(image)) for image in images)
        except ValueError as error:
            raise AcregError(
                f"Landmarks are learned from images with more than one value. Received: {error}. Give other images."
            ) from error
        return Preprocessing(**{**self.model_dump(), "intensity": "histogram", "landmarks": landmarks})

    def apply_labels(self, labels: Image, grid: Grid) -> np.ndarray:
        """Sample labels on the network's grid and replace each value by its position in `label_values`.

        Args:
            labels: labels of an image, on its grid (`acreg.geometry.labels_on`).
            grid: `grid(image)`: the content of the image, not of the labels, determines its position.

        Returns:
            int32 `(*shape, 1)`, ids from 0 to `len(label_values) - 1`.

        Raises:
            AcregError: a value is not among `label_values`, the number of axes differs, or the network's grid contains
                none of the labelled voxels.
        """
        if labels.grid.rank != grid.rank:
            raise AcregError(
                f"Labels have the axes of their image. Received: {labels.name or 'labels'} of shape "
                f"{labels.grid.shape} for a grid {grid.shape}."
            )
        check_label_values(labels.array, self.label_values, labels.name or "label image")
        sampled = sample_labels(labels.array, labels.grid, grid)
        drawn = labels.array != 0
        if drawn.any() and not sampled.any() and not (inside(grid, labels.grid) & drawn).any():
            raise AcregError(
                "Labels lie in their image, and some of them on the network's grid. Received: "
                f"{labels.name or 'labels'} on {labels.grid}, none of which lies on {grid}. Put them onto their image "
                "by acreg.geometry.labels_on, or choose a shape or spacing that covers them."
            )
        return np.searchsorted(self.label_values, sampled).astype(np.int32)[..., None]

    def _trimmed(self, image: Image) -> tuple[np.ndarray, Grid]:
        if not self.trim:
            return image.array, image.grid
        start, stop = _content(image.array)
        inner = tuple(slice(a, b) for a, b in zip(start, stop))
        return image.array[inner], image.grid.part(start, stop - start)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as a JSON file."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Preprocessing:
        """Read settings that `to_json` wrote.

        Raises:
            AcregError: the file is missing, is not JSON, or holds invalid settings.
        """
        path = Path(path)
        try:
            # `strict` for JSON: a list is accepted as a tuple, but "64" is not accepted as a number.
            return cls.model_validate_json(json.dumps(read_json(path, "file of preprocessing settings")), strict=True)
        except ValidationError as error:
            found = "; ".join(
                (".".join(str(part) for part in e["loc"]) + ": " if e["loc"] else "") + e["msg"] for e in error.errors()
            )
            raise AcregError(
                f"The preprocessing settings in a file must be complete and legal. Received: {path}: {found}. "
                "Correct these keys, or get the preset folder again."
            ) from error


def _sampled(array: np.ndarray, inner: Grid, grid: Grid) -> np.ndarray:
    return sample_image(array, inner, grid, outside=float(np.percentile(array, PERCENTILES[0])))


def _content(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each axis, the first index and the last index plus one after removing outer rows that hold one value each."""
    same = SAME * float(np.ptp(array))
    start, stop = np.zeros(array.ndim, int), np.array(array.shape)
    before = None
    while before is None or (start != before[0]).any() or (stop != before[1]).any():
        before = start.copy(), stop.copy()
        for axis in range(array.ndim):
            others = tuple(d for d in range(array.ndim) if d != axis)
            inner = array[tuple(slice(a, b) for a, b in zip(start, stop))]
            varied = np.flatnonzero(np.ptp(inner, axis=others) > same)
            if varied.size == 0:  # every index of this axis holds one value: nothing can be trimmed
                return np.zeros(array.ndim, int), np.array(array.shape)
            stop[axis] = start[axis] + varied[-1] + 1
            start[axis] += varied[0]
    return start, stop


def _centre_of_mass(array: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The centre of mass of the values above the median of the border; `middle` if there are none."""
    faces = [np.take(array, end, axis).ravel() for axis in range(array.ndim) for end in (0, -1)]
    weights = np.maximum(array - np.median(np.concatenate(faces)), 0)
    total = float(weights.sum(dtype=np.float64))
    if total <= 0:
        return middle
    sums = (
        weights.sum(axis=tuple(d for d in range(array.ndim) if d != a), dtype=np.float64) for a in range(array.ndim)
    )
    return np.array([float(np.arange(len(line)) @ line) / total for line in sums])
