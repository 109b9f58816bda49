"""What a preset is used to: its results and its inputs on training data, in the `usual.json` of its folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from skimage.measure import block_reduce

from acreg.errors import AcregError

LARGEST = 200_000
"""Largest size of a `usual.json` in bytes."""
CELLS = {2: 16, 3: 8}
"""Cells along each axis of the coarse picture of an input, by its number of axes."""
COMPONENTS = 10
"""Largest number of principal components of the coarse pictures; one for every `PER_COMPONENT` images."""
PER_COMPONENT = 3
EXTREME = 3.0
"""Standard deviations of a component that count as usual."""
REVERSED = 1.5
"""How many times as far as its reversed copy an image is from the training images, if it is itself the reversed one."""


def axis_names(axes: Sequence[int], rank: int) -> str:
    """The axes of an array as text: "z and y" for the first two of three."""
    return " and ".join("zyx"[-rank:][axis] for axis in axes)


class UsualInputs(BaseModel):
    """What a network's inputs look like in its training data: coarse pictures, by their mean and main variations.

    A coarse picture is the mean of the preprocessed image over blocks, minus its mean, divided by its standard
    deviation.

    Attributes:
        images: the number of images.
        mean: the mean picture, `(cells,)`.
        components: principal components, each multiplied by its standard deviation, `(n, cells)`.
        limit: the largest usual value of `unlikeness`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    mean: list[float]
    components: list[list[float]]
    limit: float

    @model_validator(mode="after")
    def _fits(self) -> UsualInputs:
        numbers = [self.mean, *self.components]
        if any(len(each) != len(self.mean) or not np.isfinite(each).all() for each in numbers) or not self.limit > 0:
            raise ValueError("mean and components must be finite numbers, equally many, and limit a positive one")
        return self

    @classmethod
    def of(cls, arrays: Sequence[NDArray[np.float32]], limit: float = math.inf) -> UsualInputs:
        """The mean and the components of preprocessed images, each `(*spatial, 1)`; two or more."""
        pictures = np.stack([coarse(array) for array in arrays])
        mean = pictures.mean(axis=0)
        _, spread, axes = np.linalg.svd(pictures - mean, full_matrices=False)
        kept = min(COMPONENTS, len(pictures) // PER_COMPONENT)
        components = axes[:kept] * spread[:kept, None] / math.sqrt(len(pictures) - 1)
        return cls(
            images=len(pictures),
            mean=np.round(mean, 3).tolist(),
            components=np.round(components, 3).tolist(),
            limit=limit,
        )

    def unlikeness(self, array: NDArray[np.float32]) -> float:
        """How unlike the training images a preprocessed image is, `(*spatial, 1)`.

        Its coarse picture is approximated by the mean and the components, each by up to `EXTREME` standard deviations.
        The result is the root mean square of what is left: 0 for a perfect approximation; noise has about 1.

        Raises:
            AcregError: the network's grid has another number of cells.
        """
        picture = coarse(array)
        if picture.size != len(self.mean):
            raise AcregError(
                "The inputs in a usual.json are those of the preset's own grid. Received: coarse pictures of "
                f"{len(self.mean)} cells, and an input of {array.shape[:-1]} with {picture.size}. Measure them again "
                "(python -m acreg.evaluation.usual), or remove the file: it is needed for warnings only."
            )
        rest = picture - np.array(self.mean)
        for component in np.array(self.components):
            length = float(component @ component)
            if length:
                rest = rest - np.clip(component @ rest / length, -EXTREME, EXTREME) * component
        return float(np.sqrt((rest**2).mean()))

    def reversal(self, array: NDArray[np.float32]) -> tuple[int, ...]:
        """The axes along which a preprocessed image, `(*spatial, 1)`, seems to be reversed; usually none.

        They are those of the copy that is the least unlike the training images, if the image is `REVERSED` times as
        unlike or more. Two reversed axes are a turn by 180 degrees, one or three axes a mirrored image.
        """
        rank = array.ndim - 1
        choices = [axes for count in range(1, rank + 1) for axes in combinations(range(rank), count)]
        distances = {axes: self.unlikeness(np.flip(array, axes)) for axes in choices}
        best = min(choices, key=lambda axes: distances[axes])
        return best if self.unlikeness(array) >= REVERSED * distances[best] > 0 else ()


class Usual(BaseModel):
    """The usual results of a preset on pairs of its training data, or similar data; `usual.json` in its folder.

    It is made by `acreg.evaluation.usual`.

    Attributes:
        data: the dataset and split.
        pairs: the number of pairs.
        ncc, nmi: correlation and mutual information of the fixed and the warped image, as in `Likeness`: the lowest
            value over the pairs, except for one pair in 200.
        folded_percent: the highest value, likewise.
        inputs: what the network's inputs look like; None if it was not measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    pairs: int
    ncc: float
    nmi: float
    folded_percent: float
    inputs: UsualInputs | None = None

    def is_unlike(self, unlikeness: float) -> bool:
        """Whether a value of `UsualInputs.unlikeness` is larger than usual."""
        return self.inputs is not None and unlikeness > self.inputs.limit

    def is_strange(self, array: NDArray[np.float32]) -> bool:
        """Whether a preprocessed image, `(*spatial, 1)`, is unlike the training images, or reversed."""
        known = self.inputs
        return known is not None and (self.is_unlike(known.unlikeness(array)) or bool(known.reversal(array)))

    @classmethod
    def of_preset(cls, folder: Path) -> Usual | None:
        """The usual results stored in the folder of a preset; None if there are none.

        Raises:
            AcregError: the file is damaged.
        """
        path = folder / "usual.json"
        if not path.is_file():
            return None
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError(f"{path.stat().st_size} bytes, where {LARGEST} are plenty")
            found = cls.model_validate_json(path.read_bytes())
            if not all(map(math.isfinite, (found.ncc, found.nmi, found.folded_percent))):
                raise ValueError("a number is not finite")
        except (ValidationError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise AcregError(
                f"A preset's usual.json has {', '.join(cls.model_fields)}. Received: {path} ({reason}). Get the whole "
                "folder again, or remove this file: it is needed for warnings only."
            ) from error
        return found


def coarse(array: NDArray[np.float32]) -> NDArray[np.float64]:
    """The coarse picture `(cells,)` of a preprocessed image `(*spatial, 1)`; zeros for a constant image."""
    image = array[..., 0].astype(np.float64)
    blocks = tuple(math.ceil(n / CELLS[image.ndim]) for n in image.shape)
    picture = block_reduce(image, blocks, np.mean, cval=float(image.min())).ravel()
    picture -= picture.mean()
    deviation = picture.std()
    return picture / deviation if deviation > 1e-6 else np.zeros_like(picture)
