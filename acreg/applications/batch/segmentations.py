"""The files and the table of segmented images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from acreg.applications.batch.items import Item
from acreg.io import Image, write_image
from acreg.registration.saving import result_name

SEGMENTATIONS = "segmentations.csv"


def saved(folder: Path, item: Item, labels: Image, shares: Mapping[int, np.ndarray]) -> list[str]:
    """Write a label map and the probabilities of its labels; return the first cells of its row."""
    path = folder / "labels" / result_name(item.name, item.image.name, labels.grid.rank)
    write_image(labels, path)
    for value, share in shares.items():
        if value:
            write_image(Image(share, labels.grid), folder / "probabilities" / f"{item.name}_{value}.nii.gz")
    return [item.name, os.path.abspath(item.image), path.relative_to(folder).as_posix(), "test"]


def agreement(labels: Image, probabilities: np.ndarray) -> str:
    """The mean probability of the chosen label over the voxels that are not background, as a cell; empty for none."""
    won = probabilities.max(axis=0)[labels.array > 0]
    return f"{won.mean():.4f}" if won.size else ""
