"""What `acreg segment` does to each image with a segmenter, which needs no atlases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from acreg.applications.batch.items import Item
from acreg.applications.batch.segmentations import SEGMENTATIONS, agreement, saved
from acreg.inference.presets import preset_digest, preset_folder
from acreg.io import Image, read_image
from acreg.names import some
from acreg.registration.usual import Usual, axis_names


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
    columns: tuple[str, ...] = field(
        default=("subject", "image", "labels", "split", "agreement", "unlikeness", "reversed"), init=False
    )
    inputs: tuple[str, ...] = field(default=("image",), init=False)

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


class Segmented(NamedTuple):
    """An image's label map and the probability of each label; and what the segmenter's `UsualInputs` say of the image.

    `unlikeness` is None if they are not known, `reversal` the axes along which the image looks reversed.
    """

    labels: Image
    probabilities: np.ndarray
    unlikeness: float | None
    reversal: tuple[int, ...]


def unlike_images(model: str, rows: Sequence[Mapping[str, str]]) -> str:
    """Sentences about the images of a table that a segmenter does not know or that look reversed; "" for none."""
    usual = Usual.of_preset(preset_folder(model))
    if usual is None:
        return ""
    far = [row["subject"] for row in rows if row["unlikeness"] and usual.is_unlike(float(row["unlikeness"]))]
    turned = [row["subject"] for row in rows if row["reversed"]]
    trained = f"those on which {Path(model).name} was trained ({usual.data})"
    said = [f"Unlike {trained}: {len(far)} of {len(rows)} images, {some(far)}."] if far else []
    if turned:
        said.append(
            f"Turned by 180 degrees or mirrored in comparison with {trained}, as it seems: {len(turned)} of "
            f"{len(rows)} images, {some(turned)}."
        )
    return " ".join([*said, "Look at their labels."]) if said else ""


class SegmenterWorker:
    """Segments images; see `SegmenterTask`."""

    def __init__(self, task: SegmenterTask) -> None:
        from acreg.models import from_preset

        self.task = task
        self.model: Any = from_preset(task.model)
        usual = Usual.of_preset(preset_folder(task.model))
        self._inputs = None if usual is None else usual.inputs

    def read(self, item: Item) -> Image:
        """An item's image."""
        return read_image(item.image)

    def compute(self, items: Sequence[Item], contents: Sequence[Image]) -> list[Segmented]:
        """The label map and the probabilities of each image."""
        return [self._segmented(image) for image in contents]

    def _segmented(self, image: Image) -> Segmented:
        found = self.model.probabilities(image, self.task.flips)
        labels, inputs = self.model.label_map(found, image), self._inputs
        if inputs is None:
            return Segmented(labels, found, None, ())
        array = self.model.preprocessing.apply(image)
        return Segmented(labels, found, inputs.unlikeness(array), inputs.reversal(array))

    def save(self, item: Item, result: Segmented) -> list[str]:
        """Write the label map and, if requested, the probabilities.

        The row's agreement is the mean probability of the chosen label over the voxels that are not background; its
        unlikeness is empty if the training images are not known; reversed are the axes along which the image looks so.
        """
        shares = self._shares(result.probabilities) if self.task.probabilities else {}
        return [
            *saved(self.task.folder, item, result.labels, shares),
            agreement(result.labels, result.probabilities),
            "" if result.unlikeness is None else f"{result.unlikeness:.3f}",
            axis_names(result.reversal, len(self.model.preprocessing.shape)),
        ]

    def _shares(self, probabilities: np.ndarray) -> dict[int, np.ndarray]:
        return dict(zip(self.model.preprocessing.label_values, probabilities, strict=True))
