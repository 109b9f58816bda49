"""The labelled images of a dataset, read when they are needed."""

from __future__ import annotations

from collections import OrderedDict

from acreg.data.manifest import Dataset
from acreg.io import Image

KEPT = 2**31
"""Bytes of voxels that are kept at most: of a large dataset, those that were used last."""


class Subjects:
    """Images and labels by subject, kept within bounds once they were read.

    Args:
        dataset: of labelled images.
        kept: bytes of voxels that are kept at most.
    """

    def __init__(self, dataset: Dataset, kept: int = KEPT) -> None:
        self.dataset, self.limit = dataset, kept
        self._kept: OrderedDict[str, tuple[Image, Image]] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, subject: str) -> tuple[Image, Image]:
        """A subject's image and labels.

        Raises:
            AcregError: they cannot be read, or the labels do not lie on the image; see `Dataset.read_labelled`.
        """
        if subject not in self._kept:
            image, labels = self.dataset.read_labelled(self.dataset.record(subject))
            self._kept[subject] = image, labels
            self._bytes += image.array.nbytes + labels.array.nbytes
            while len(self._kept) > 1 and self._bytes > self.limit:
                _, old = self._kept.popitem(last=False)
                self._bytes -= sum(each.array.nbytes for each in old)
        self._kept.move_to_end(subject)
        return self._kept[subject]
