"""The usual results and inputs of a preset on its training data, for warnings that a result or an image is unusual.

Run it as ``python -m acreg.evaluation.usual PRESET --data DATASET``. It writes ``usual.json`` into the folder of the
preset or to ``--out``; see `acreg.registration.usual.Usual`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.subjects import Subjects
from acreg.evaluation.pairs import choose_pairs
from acreg.io import Image, atomic_path
from acreg.models.presets import preset_folder
from acreg.registration.methods import Method, PresetMethod
from acreg.registration.pair import register_pair
from acreg.registration.usual import Usual, UsualInputs

LEFT_OUT = 200
"""One pair in this number counts as an exception and is left out."""
IMAGES = 200
"""Largest number of images whose coarse pictures are examined."""
FEWEST = 6
"""Number of images below which nothing can be said about inputs."""
MARGIN = 1.4
"""Factor between the distances of training images and the limit."""


def measure(method: Method, dataset: Dataset, split: str = "train", pairs: int = 500, seed: int = 0) -> Usual:
    """Register pairs of a split, drawn as in `acreg evaluate`; the most extreme pair of 200 is left out.

    For a preset, its inputs are measured as well, see `measure_inputs`.
    """
    preprocessed = getattr(method, "preprocessed", None)
    names = [record.subject for record in dataset.split(split)]
    chosen = choose_pairs(str(min(pairs, len(names) * (len(names) - 1))), names, seed)
    subjects, found = Subjects(dataset), []
    for fixed, moving in chosen:
        result = register_pair(method, fixed=subjects.get(fixed)[0], moving=subjects.get(moving)[0], both_ways=False)
        found.append([result.after.ncc, result.after.nmi, result.regularity["folded_percent"]])
    ordered, left_out = np.sort(found, axis=0), len(found) // LEFT_OUT
    low, high = ordered[left_out], ordered[-1 - left_out]
    return Usual(
        data=f"{dataset.name}, {split}",
        pairs=len(chosen),
        ncc=round(float(low[0]), 4),
        nmi=round(float(low[1]), 4),
        folded_percent=round(float(high[2]), 4),
        inputs=None if preprocessed is None else measure_inputs(preprocessed, dataset, split),
    )


def measure_inputs(
    preprocessed: Callable[[Image], NDArray[np.float32]], dataset: Dataset, split: str = "train"
) -> UsualInputs | None:
    """The usual inputs of a network, from the images of a split, `IMAGES` at most; None for fewer than `FEWEST`.

    `preprocessed` is `PresetMethod.preprocessed`, or `Preprocessing.apply`.

    The limit is `MARGIN` times the 95th percentile of the unlikeness of images that were left out, one by one.
    """
    records = dataset.split(split)
    records = records[:: 1 + (len(records) - 1) // IMAGES]
    if len(records) < FEWEST:
        return None
    arrays = [preprocessed(dataset.read_image(record)) for record in records]
    others = [UsualInputs.of([*arrays[:n], *arrays[n + 1 :]]) for n in range(len(arrays))]
    distances = [other.unlikeness(array) for other, array in zip(others, arrays, strict=True)]
    return UsualInputs.of(arrays, limit=round(MARGIN * float(np.percentile(distances, 95)), 3))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(prog="usual", description="What a preset reaches on pairs of its training data.")
    parser.add_argument("preset", help="name or folder")
    parser.add_argument("--data", required=True, help="prepared dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--split", default="train", help="whose pairs are registered; never the test split")
    parser.add_argument("--pairs", type=int, default=500, help="at most")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of pairs")
    parser.add_argument("--out", type=Path, help="file to write, if not usual.json of the preset")
    given = parser.parse_args(arguments)
    dataset = Dataset.load(dataset_folder(given.data))
    usual = measure(PresetMethod(given.preset), dataset, given.split, given.pairs, given.seed)
    text = usual.model_dump_json() + "\n"
    with atomic_path(given.out or preset_folder(given.preset) / "usual.json") as path:
        path.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
