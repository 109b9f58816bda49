"""What `acreg segment` does to each image with a segmenter, which needs no atlases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acreg.applications.batch.items import Item
from acreg.applications.batch.segmentations import SEGMENTATIONS, agreement, saved
from acreg.inference.presets import preset_digest
from acreg.io import Image, read_image


@dataclass(frozen=True)
class SegmenterTask:
    """Segmentation by a network: a label map for each image and, optionally, the probability of each label.

    Its table is also the manifest of a dataset with these label maps.

    Args:
        model: name or folder of the preset.
        folder: folder of the results.
        flips: see `Segmenter.probabilities`.
        probabilities: whether to write the probabilities.
    """

    model: str
    folder: Path
    flips: bool = False
    probabilities: bool = False
    table: str = field(default=SEGMENTATIONS, init=False)
    columns: tuple[str, ...] = field(default=("subject", "image", "labels", "split", "agreement"), init=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that determine the results."""
        return {
            "model": Path(self.model).name,
            "model_sha256": preset_digest(self.model),
            "flips": self.flips,
            "probabilities": self.probabilities,
        }

    def load(self) -> SegmenterWorker:
        """The worker, with the model."""
        return SegmenterWorker(self)


class SegmenterWorker:
    """Segments images; see `SegmenterTask`."""

    def __init__(self, task: SegmenterTask) -> None:
        from acreg.models import from_preset

        self.task = task
        self.model: Any = from_preset(task.model)

    def read(self, item: Item) -> Image:
        """An item's image."""
        return read_image(item.image)

    def compute(self, items: Sequence[Item], contents: Sequence[Image]) -> list[tuple[Image, np.ndarray]]:
        """The label map and the probabilities of each image."""
        found = [self.model.probabilities(image, self.task.flips) for image in contents]
        return [(self.model.label_map(one, image), one) for one, image in zip(found, contents, strict=True)]

    def save(self, item: Item, result: tuple[Image, np.ndarray]) -> list[str]:
        """Write the label map and, if requested, the probabilities.

        The row's agreement is the mean probability of the chosen label over the voxels that are not background.
        """
        labels, probabilities = result
        return [
            *saved(self.task.folder, item, labels, self._shares(probabilities) if self.task.probabilities else {}),
            agreement(labels, probabilities),
        ]

    def _shares(self, probabilities: np.ndarray) -> dict[int, np.ndarray]:
        return dict(zip(self.model.preprocessing.label_values, probabilities, strict=True))
