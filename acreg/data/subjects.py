"""The images and labels of a dataset, read when they are needed."""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from acreg.data.manifest import Dataset
from acreg.io import Image

KEPT = 2**31
"""Bytes of voxels that are kept at most: of a large dataset, those that were used last."""


class Subjects:
    """Images and labels by subject, kept within bounds once they were read.

    Args:
        dataset: of images, labelled or not.
        kept: bytes of voxels that are kept at most.
    """

    def __init__(self, dataset: Dataset, kept: int = KEPT) -> None:
        self.dataset, self.limit = dataset, kept
        self._kept: OrderedDict[str, tuple[Image, Image | None]] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, subject: str) -> tuple[Image, Image]:
        """A subject's image and labels.

        Raises:
            AcregError: it has no labels, they cannot be read, or do not lie on the image; see `Dataset.read_labelled`.
        """
        found = self.get(subject)
        if found[1] is None:
            self.dataset.read_labels(self.dataset.record(subject))  # which says that there are none
        return cast("tuple[Image, Image]", found)

    def get(self, subject: str) -> tuple[Image, Image | None]:
        """A subject's image and, where its record has some, labels; errors as of those that have."""
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
