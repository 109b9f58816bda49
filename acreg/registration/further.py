"""Further images and label maps of the moving space, which a registered pair moves along."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from acreg.errors import AcregError, UsageError, argument
from acreg.geometry import Image, Transform, labels_on
from acreg.geometry.transform import Border
from acreg.io import read_labels, write_image
from acreg.io.channels import fits_pixels
from acreg.io.colour import read_channels, reason_against, warp_channels, write_channels
from acreg.io.documents import read_json
from acreg.io.formats import is_picture, stem
from acreg.io.inputs import ImageLike, as_image
from acreg.names import folded, is_file_name, some

LABELS = 1000
"""The largest number of different values that a file is taken for labels with."""
SUFFIXES = (".png", ".nii.gz")


@dataclasses.dataclass(frozen=True, eq=False)
class Further:
    """An image that lies in the moving space, or labels of it.

    Args:
        stem: its file is called after it.
        channels: one image or label map, or the channels of a colour image.
        guessed: whether its values decided whether it is labels.
    """

    stem: str
    channels: list[Image]
    guessed: bool = False

    @property
    def is_labels(self) -> bool:
        """Whether each voxel keeps one of the values: labels are not interpolated."""
        return self.channels[0].kind == "labels"

    def file_name(self, rank: int) -> str:
        """The name of the result, with .png if the file is a 2-D picture whose values a PNG holds, else .nii.gz."""
        picture = rank == 2 and is_picture(Path(self.channels[0].name))
        exact = picture and all(fits_pixels(channel.array) for channel in self.channels)
        return further_names([self.stem])[0 if exact else 1]

    def write(self, transform: Transform, path: Path, border: Border, fill: float) -> None:
        """Warp it and write the file; labels are 0 outside, whatever the border is."""
        if self.is_labels:
            write_image(transform.warp_labels(self.channels[0]), path)
            return
        warped = warp_channels(self.channels, transform, border, fill)
        if len(warped) > 1 and not reason_against(warped, path):
            write_channels(warped, path)
        elif len(warped) > 1:
            grey = dataclasses.replace(as_image(self.channels[0].name, "also"), grid=self.channels[0].grid)
            write_image(transform.warp_image(grey, border, fill), path)
        else:
            write_image(warped[0], path)


def read_further(given: Sequence[ImageLike], moving: Image) -> list[Further]:
    """Read further images of the moving space.

    A file of at most 1000 different whole numbers whose voxels form regions holds labels, see
    `acreg.io.label_values.has_regions`; an `Image` has its kind.

    Raises:
        UsageError: two of them have one name.
        AcregError: a file cannot be read, or does not fit the moving image.
    """
    check_further(given)
    found = [_read(value, number, moving) for number, value in enumerate(given, 1)]
    _check_stems([one.stem for one in found])
    return found


def check_further(given: Sequence[ImageLike]) -> None:
    """Raise `UsageError` if the results of two files would have one name."""
    _check_stems([_stem(value) for value in given if isinstance(value, (str, os.PathLike))])


def _check_stems(stems: Sequence[str]) -> None:
    double = [name for name, count in Counter(map(folded, stems)).items() if count > 1]
    if double:
        raise UsageError(
            f"Results are named after the files, whose names without suffix differ. Received: {argument('also')} with "
            f"{some(double)} more than once. Rename the files, or move one of them by `acreg warp`."
        )


def further_names(stems: Iterable[str]) -> list[str]:
    """The names that results of further images may have."""
    return [f"{one}_warped{suffix}" for one in stems for suffix in SUFFIXES]


def given_names(given: Sequence[ImageLike]) -> list[str]:
    """`further_names` of the files among these images, before they are read."""
    return further_names(_stem(value) for value in given if isinstance(value, (str, os.PathLike)))


def earlier_names(record: Path) -> list[str]:
    """The results of further images that an earlier registration wrote, by its record; none if it cannot be read."""
    try:
        names = read_json(record, "record of a registration").get("also", []) if record.is_file() else []
    except (AcregError, AttributeError):
        return []
    return [name for name in names if isinstance(name, str) and is_file_name(name) and name.endswith(SUFFIXES)]


def _read(value: ImageLike, number: int, moving: Image) -> Further:
    if isinstance(value, (str, os.PathLike)):
        channels, name = _channels(value), _stem(value)
    else:
        image = as_image(value, f"also{number}")
        channels, name = [image], stem(Path(image.name).name) or f"also{number}"
    if channels[0].kind == "labels":
        placed = [labels_on(channels[0], moving)]
    else:
        placed = [_placed(channel, moving) for channel in channels]
    return Further(name, placed, guessed=isinstance(value, (str, os.PathLike)) and placed[0].kind == "labels")


def _channels(path: str | os.PathLike[str]) -> list[Image]:
    """The labels or the channels of a file."""
    channels = read_channels(path)
    if len(channels) > 1:
        return channels
    array = channels[0].array
    if array.min() < 0 or not np.array_equal(array, np.rint(array)) or np.unique(array).size > LABELS:
        return channels
    try:
        return [read_labels(path)]
    except AcregError:  # whole numbers that do not form regions
        return channels


def _placed(image: Image, moving: Image) -> Image:
    """An image on its own grid, or on that of the moving image if it has no place of its own."""
    if image.grid.rank == moving.grid.rank:
        if image.has_place and moving.has_place:
            return image
        if image.grid.shape == moving.grid.shape:
            return dataclasses.replace(image, grid=moving.grid)
    raise AcregError(
        f"{argument('also')} gives images in the space of the moving image, by the positions in their headers or voxel "
        f"by voxel. Received: {image.name or 'an image'} of shape {image.grid.shape}, for "
        f"{moving.name or 'the moving image'} of shape {moving.grid.shape}. Give an image of this subject in its place."
    )


def _stem(path: str | os.PathLike[str]) -> str:
    return stem(Path(path).name)
