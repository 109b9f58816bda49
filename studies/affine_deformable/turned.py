"""Copies of a split's subjects that were turned and scaled at random, paired with the subjects as they were.

Run as ``python -m studies.affine_deformable.turned --data oasis-trt --out datasets/oasis-trt-turned``; then
``acreg evaluate --data datasets/oasis-trt-turned ...`` registers the copy of each subject to each other subject.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from acreg.data.manifest import Dataset, Record, dataset_folder
from acreg.data.tables.pair_files import PAIRS_NAME, write_pairs
from acreg.errors import UsageError
from acreg.geometry import Affine, Grid, Transform
from acreg.io import read_labelled, write_image
from acreg.io.transforms import write_transform

SUFFIX = "-turned"


def random_affine(rng: np.random.Generator, rotation: float, scale: float, centre: np.ndarray) -> Affine:
    """A map of space, mm, that turns about `centre`, after it was scaled along each axis.

    Args:
        rng: what draws.
        rotation: degrees about each axis, at most.
        scale: change of size along each axis, at most; 0.2 draws factors from 0.8 to 1.2.
        centre: world position ``(3,)``, mm.
    """
    turn = Rotation.from_euler("zyx", rng.uniform(-rotation, rotation, 3), degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag(rng.uniform(1 - scale, 1 + scale, 3))
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return Affine(matrix)


def write_turned(dataset: Dataset, out: Path, split: str, seed: int, rotation: float, scale: float) -> Dataset:
    """Write the copies, with a manifest of them and of the originals, and ``pairs.csv``.

    A copy lies on a cube of its image's longest side about the labels' centre, of the image's own axes and spacing:
    nothing of its header tells how it was turned. ``transforms/SUBJECT.tfm`` takes points of it to its original.

    Args:
        dataset: labelled volumes.
        out: folder to write.
        split: whose subjects are copied.
        seed: a subject's copy depends on it and on the subject's position in the split.
        rotation: see `random_affine`.
        scale: likewise.

    Raises:
        UsageError: a split of fewer than two labelled volumes, or limits that allow no map.
    """
    records = [(record, record.labels) for record in dataset.split(split) if record.labels is not None]
    if len(records) < 2 or not 0 <= rotation <= 180 or not 0 <= scale < 1:
        raise UsageError(
            "Turned copies need a split of at least two labelled subjects, a rotation from 0 to 180 degrees and a "
            f"scale from 0 to less than 1. Received: {len(records)} labelled subjects in {split} of {dataset.name}, "
            f"rotation={rotation}, scale={scale}."
        )
    written: list[Record] = []
    for number, (record, file) in enumerate(records):
        image, labels = read_labelled(record.image, file)
        if labels.grid.rank != 3:
            raise UsageError(
                f"Turned copies are made of volumes. Received: {file} of {labels.grid.rank} axes. Choose a dataset of "
                "volumes."
            )
        grid = labels.grid
        middle = np.argwhere(labels.array).mean(axis=0)
        shape = (max(np.multiply(grid.shape, grid.spacing)) / np.array(grid.spacing)).round().astype(int)
        cube: Grid = grid.centred(middle, shape.tolist(), grid.spacing)
        rng = np.random.default_rng([seed, number])
        turn = Transform(cube, grid, (random_affine(rng, rotation, scale, grid.to_world(middle)),))
        name = record.subject + SUFFIX
        copy = Record(name, out / f"images/{name}.nii.gz", out / f"labels/{name}.nii.gz", record.split)
        write_image(turn.warp_image(image, border="edge"), copy.image)
        write_image(turn.warp_labels(labels), out / f"labels/{name}.nii.gz")
        write_transform(turn, out / f"transforms/{name}.tfm")
        written += [record, copy]
    pairs = [(one.subject, other.subject + SUFFIX) for (one, _), (other, _) in permutations(records, 2)]
    write_pairs(out / PAIRS_NAME, dict.fromkeys(pairs))
    made = replace(
        dataset,
        folder=out,
        name=f"{dataset.name}{SUFFIX}",
        records=written,
        spacing=None,
        preparation={"turned": {"split": split, "seed": seed, "rotation": rotation, "scale": scale}},
    )
    made.save()
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the copies of a dataset's split."""
    parser = argparse.ArgumentParser(prog="turned", description="Turned and scaled copies of a dataset's volumes.")
    parser.add_argument("--data", default="oasis-trt", help="dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--split", default="test", help="train, validation or test")
    parser.add_argument("--seed", type=int, default=0, help="of the random maps")
    parser.add_argument("--rotation", type=float, default=30.0, help="degrees about each axis, at most")
    parser.add_argument("--scale", type=float, default=0.2, help="change of size along each axis, at most")
    given = parser.parse_args(arguments)
    dataset = Dataset.load(dataset_folder(given.data))
    write_turned(dataset, given.out, given.split, given.seed, given.rotation, given.scale)


if __name__ == "__main__":
    main()
