"""The images and labels of a dataset, read when they are needed."""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from acreg.data.manifest import Dataset
from acreg.io import Image

KEPT = 2**31
"""Largest number of bytes of voxels that are kept: for a large dataset, those that were used last."""


class Subjects:
    """Images and labels by subject, which are kept in memory, up to a limit, once they have been read.

    Args:
        dataset: a dataset of images, with or without labels.
        kept: largest number of bytes of voxels that are kept.
    """

    def __init__(self, dataset: Dataset, kept: int = KEPT) -> None:
        self.dataset, self.limit = dataset, kept
        self._kept: OrderedDict[str, tuple[Image, Image | None]] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, subject: str) -> tuple[Image, Image]:
        """The image and labels of a subject.

        Raises:
            AcregError: there are no labels, or they cannot be read or placed on the image; see `Dataset.read_labelled`.
        """
        found = self.get(subject)
        if found[1] is None:
            self.dataset.read_labels(self.dataset.record(subject))  # which reports that there are none
        return cast("tuple[Image, Image]", found)

    def get(self, subject: str) -> tuple[Image, Image | None]:
        """The image of a subject and its labels, if its record has them; errors as for labelled subjects."""
        if subject not in self._kept:
            record, labels = self.dataset.record(subject), None
            if record.labels is None:
                image = self.dataset.read_image(record)
            else:
                image, labels = self.dataset.read_labelled(record)
            self._kept[subject] = image, labels
            self._bytes += sum(each.array.nbytes for each in (image, labels) if each is not None)
            while len(self._kept) > 1 and self._bytes > self.limit:
                _, old = self._kept.popitem(last=False)
                self._bytes -= sum(each.array.nbytes for each in old if each is not None)
        self._kept.move_to_end(subject)
        return self._kept[subject]
