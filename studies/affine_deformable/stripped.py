"""Heads without their skulls: copies of a dataset's images that are zero outside of the labelled brain.

Run as ``python -m studies.affine_deformable.stripped --data FOLDER --out datasets/ixi-stripped``. The network
was trained on stripped brains; this makes such images of heads whose labels cover the brain. With ``--both``, the heads
stay in the dataset beside their copies, for a network that is to know both.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acreg.data.manifest import Dataset, Record, dataset_folder
from acreg.errors import UsageError
from acreg.io import Image, write_image

SUFFIX = "-stripped"
CLOSED, GROWN = 3, 1
"""Voxels by which gaps between labels are closed, and by which the mask then grows."""


def brain_mask(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """The labelled voxels, their gaps closed and holes filled, and one voxel around."""
    padded = np.pad(labels > 0, CLOSED + 1)  # closing erodes from the border of the array
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(padded, iterations=CLOSED))
    inner = (slice(CLOSED + 1, -CLOSED - 1),) * labels.ndim
    return ndimage.binary_dilation(closed, iterations=GROWN)[inner]


def write_stripped(dataset: Dataset, out: Path, both: bool = False) -> Dataset:
    """Write the stripped images and a manifest that names the labels as they are; with `both`, the heads as well.

    Raises:
        UsageError: a subject has no labels.
    """
    records: list[Record] = []
    for record in dataset.records:
        if record.labels is None:
            raise UsageError(
                f"A head is stripped by its labels. Received: {record.subject} of {dataset.name}, which has none. "
                "Leave it out of the manifest."
            )
        image, labels = dataset.read_labelled(record)
        name = record.subject + (SUFFIX if both else "")
        copy = replace(record, subject=name, image=out / f"images/{name}.nii.gz")
        stripped = np.where(brain_mask(labels.array), image.array, 0).astype(np.float32)
        write_image(Image(stripped, image.grid), copy.image)
        records += [record, copy] if both else [copy]
    made = replace(dataset, folder=out, name=dataset.name + SUFFIX, records=records)
    made.save()
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the copies of a dataset."""
    parser = argparse.ArgumentParser(prog="stripped", description="Copies of heads, zero outside of their labels.")
    parser.add_argument("--data", required=True, help="dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--both", action="store_true", help="keep the heads beside their copies")
    given = parser.parse_args(arguments)
    write_stripped(Dataset.load(dataset_folder(given.data)), given.out, given.both)


if __name__ == "__main__":
    main()
