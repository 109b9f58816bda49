"""How an image becomes a network's input: the same for training arrays and for one pair at use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from acreg.errors import AcregError
from acreg.geometry.resize import resize_image, resize_labels
from acreg.io.atomic import atomic_path
from acreg.io.image import Image, check_label_values


class Preprocessing(BaseModel):
    """What is done to an image, and to labels, before a network sees them; saved with each preset.

    Args:
        shape: size of the network's grid, array-axis order, 2 or 3 axes.
        intensity: "minmax" brings each image to [0, 1] by its own minimum and maximum (a constant image becomes zeros);
            "divide_by_255" divides, as for 8-bit images, and treats an image with values outside 0..255 (16 bit, CT) as
            "minmax" does.
        label_values: the values in label files, ascending, background 0 first. A network sees their position in this
            list: id `i` stands for `label_values[i]`, so ids never depend on what one image happens to contain.
        label_names: a name for each value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[int, ...]
    intensity: Literal["minmax", "divide_by_255"] = "minmax"
    label_values: list[int] = Field(default_factory=lambda: [0])
    label_names: dict[int, str] = Field(default_factory=dict)

    @field_validator("shape")
    @classmethod
    def _shape_is_a_size(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ValueError("shape must be 2 or 3 numbers of at least 1")
        return shape

    @field_validator("label_values")
    @classmethod
    def _values_ascend_from_background(cls, values: list[int]) -> list[int]:
        if values[:1] != [0] or values != sorted(set(values)):
            raise ValueError("label_values must ascend without repetition and begin with the background, 0")
        return values

    def apply(self, image: Image) -> np.ndarray:
        """Resize an image to `shape`, then scale its intensities.

        Returns:
            float32 `(*shape, 1)`.

        Raises:
            AcregError: the image has another number of axes than `shape`.
        """
        self._check_rank(image)
        array = resize_image(image.array, self.shape)
        if self.intensity == "divide_by_255" and image.array.min() >= 0 and image.array.max() <= 255:
            return (array / np.float32(255))[..., None]
        low, high = float(array.min()), float(array.max())
        if high - low > 1e-6 * max(abs(low), abs(high)):  # a smaller range is rounding
            array = ((array.astype(np.float64) - low) / (high - low)).astype(np.float32)
        else:
            array = np.zeros_like(array)
        return array[..., None]

    def apply_labels(self, image: Image) -> np.ndarray:
        """Resize labels to `shape` and replace each value by its position in `label_values`.

        Returns:
            int32 `(*shape, 1)`, ids from 0 to `len(label_values) - 1`.

        Raises:
            AcregError: a value is not among `label_values`, or the number of axes differs.
        """
        self._check_rank(image)
        check_label_values(image.array, self.label_values, image.name or "label image")
        labels = resize_labels(image.array, self.shape)
        return np.searchsorted(self.label_values, labels).astype(np.int32)[..., None]

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as a JSON file."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Preprocessing:
        """Read settings that `to_json` wrote.

        Raises:
            AcregError: the file is missing, is no JSON, or holds settings that do not fit.
        """
        path = Path(path)
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise AcregError(
                f"The preprocessing settings must be a readable JSON file. Received: {path} ({error}). "
                "Get the whole preset folder again."
            ) from error
        except ValidationError as error:
            found = "; ".join(
                (".".join(str(part) for part in e["loc"]) + ": " if e["loc"] else "") + e["msg"] for e in error.errors()
            )
            raise AcregError(
                f"The preprocessing settings in a file must be complete and legal. Received: {path}: {found}. "
                "Correct these keys, or get the preset folder again."
            ) from error

    def _check_rank(self, image: Image) -> None:
        if image.grid.rank != len(self.shape):
            raise AcregError(
                f"This preprocessing is for images with {len(self.shape)} axes. Received: {image.name or 'image'} "
                f"of shape {image.grid.shape}. Use a model of the image's rank, or give one slice."
            )
