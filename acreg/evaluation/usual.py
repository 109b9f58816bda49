"""The usual results and inputs of a preset on its training data, for warnings that a result or an image is unusual.

Run it as ``python -m acreg.evaluation.usual PRESET --data DATASET``. It writes ``usual.json`` into the folder of the
preset or to ``--out``; see `acreg.registration.usual.Usual`.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.subjects import Subjects
from acreg.evaluation.pairs import choose_pairs
from acreg.inference import preset_folder
from acreg.io import Image, atomic_path
from acreg.registration.methods import Method, preset_method
from acreg.registration.pair import register_pair
from acreg.registration.usual import Usual, UsualInputs

LEFT_OUT = 200
"""One pair in this number counts as an exception and is left out."""
IMAGES = 200
"""Largest number of images whose coarse pictures are examined."""
COPIES = 160
"""Number of rotated copies, for a network that was trained on rotated images."""
FEWEST = 6
"""Number of images below which nothing can be said about inputs."""
MARGIN = 1.4
"""Factor between the distances of training images and the limit."""


def measure(
    method: Method, dataset: Dataset, split: str = "train", pairs: int = 500, seed: int = 0, turned: float = 0.0
) -> Usual:
    """Register pairs of a split, drawn as in `acreg evaluate`; the most extreme pair of 200 is left out.

    For a preset, its inputs are measured as well; see `measure_inputs`, also for `turned`.
    """
    preprocessed = getattr(method, "preprocessed", None)
    names = [record.subject for record in dataset.split(split)]
    chosen = choose_pairs(str(min(pairs, len(names) * (len(names) - 1))), names, seed)
    subjects, found = Subjects(dataset), []
    for fixed, moving in chosen:
        (image, labels), other = subjects.get(fixed), subjects.get(moving)[0]
        result = register_pair(method, fixed=image, moving=other, fixed_mask=labels, both_ways=False)
        found.append([result.after.ncc, result.after.nmi, result.regularity["folded_percent"]])
    ordered, left_out = np.sort(found, axis=0), len(found) // LEFT_OUT
    low, high = ordered[left_out], ordered[-1 - left_out]
    return Usual(
        data=f"{dataset.name}, {split}",
        pairs=len(chosen),
        ncc=round(float(low[0]), 4),
        nmi=round(float(low[1]), 4),
        folded_percent=round(float(high[2]), 4),
        inputs=None if preprocessed is None else measure_inputs(preprocessed, dataset, split, turned, seed),
    )


def measure_inputs(
    preprocessed: Callable[[Image], NDArray[np.float32]],
    dataset: Dataset,
    split: str = "train",
    turned: float = 0.0,
    seed: int = 0,
) -> UsualInputs | None:
    """The usual inputs of a network, from the images of a split, `IMAGES` at most; None for fewer than `FEWEST`.

    The limit is `MARGIN` times the 95th percentile of the unlikeness of images that were left out, one by one.

    Args:
        preprocessed: `PresetMethod.preprocessed`, or `Preprocessing.apply`.
        dataset, split: the images.
        turned: for a network that was trained on rotated images: the largest angle in degrees. Each image is joined by
            copies that are rotated at random, about `COPIES` in all.
        seed: of the angles.
    """
    records = dataset.split(split)
    records = records[:: 1 + (len(records) - 1) // IMAGES]
    if len(records) < FEWEST:
        return None
    rng, copies = np.random.default_rng(seed), max(1, COPIES // len(records)) if turned else 0
    groups = []
    for record in records:
        array = preprocessed(dataset.read_image(record))
        groups.append([array, *(_rotated(array, turned, rng) for _ in range(copies))])
    distances: list[float] = []
    for n, group in enumerate(groups):
        others = UsualInputs.of([array for m, other in enumerate(groups) if m != n for array in other])
        distances += [others.unlikeness(array) for array in group]
    limit = round(MARGIN * float(np.percentile(distances, 95)), 3)
    return UsualInputs.of([array for group in groups for array in group], limit=limit)


def _rotated(array: NDArray[np.float32], degrees: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A preprocessed image `(*spatial, 1)`, rotated by a random angle about each axis of the network's grid."""
    image = array[..., 0]
    for axes in itertools.combinations(range(image.ndim), 2):
        angle = rng.uniform(-degrees, degrees)
        image = ndimage.rotate(image, angle, axes=axes, reshape=False, order=1, mode="nearest")
    return image[..., None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(prog="usual", description="What a preset reaches on pairs of its training data.")
    parser.add_argument("preset", help="name or folder")
    parser.add_argument("--data", required=True, help="prepared dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--split", default="train", help="whose pairs are registered; never the test split")
    parser.add_argument("--pairs", type=int, default=500, help="at most")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of pairs")
    parser.add_argument(
        "--turned", type=float, default=0.0, help="degrees by which the network's training turned images"
    )
    parser.add_argument("--out", type=Path, help="file to write, if not usual.json of the preset")
    given = parser.parse_args(arguments)
    dataset = Dataset.load(dataset_folder(given.data))
    usual = measure(preset_method(given.preset), dataset, given.split, given.pairs, given.seed, given.turned)
    text = usual.model_dump_json() + "\n"
    with atomic_path(given.out or preset_folder(given.preset) / "usual.json") as path:
        path.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
