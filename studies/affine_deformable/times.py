"""CPU time of a registration, as Table III of the paper has the time: networks and classical methods, one thread each.

Run as ``OMP_NUM_THREADS=1 python -m studies.affine_deformable.times voxelmorph-brain ants:SyN``.
A name is that of a recipe, whose network is made but not trained, because its weights do not change the time; of a
shipped preset; or of a method. CPU time is less sensitive to other jobs than the time on the clock. Networks run in
Keras. The first registration, in which they are traced, is not counted.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from itertools import permutations

import numpy as np

from acreg.data.manifest import Dataset, dataset_folder
from acreg.geometry import Image
from acreg.registration.methods import METHOD_NAMES, Method, PresetMethod, named_method
from acreg.registration.presets import from_preset
from acreg.training import build
from acreg.training.data import load_data
from acreg.training.recipe import load_recipe, shipped_recipes


def method_of(name: str, dataset: str) -> Method:
    """The method of this name; a recipe's network is made for this dataset."""
    if name.partition("[")[0] in METHOD_NAMES:
        return named_method(name, threads=1, seed=0)
    if name not in shipped_recipes() or name == "affine-deformable-brain":  # it starts from the weights of another
        return PresetMethod(from_preset(name, "keras"), name)
    recipe = load_recipe(name, [f"data.dataset={dataset}"])
    return PresetMethod(build.build_network(recipe, load_data(recipe), None), name)


def cpu_seconds(method: Method, pairs: Sequence[tuple[Image, Image]]) -> list[float]:
    """CPU time of each registration but the first, of this process and those that it starts, in seconds."""
    spent = [sum(os.times()[:4])]
    for fixed, moving in pairs:
        method.register(fixed=fixed, moving=moving)
        spent.append(sum(os.times()[:4]))
    return np.diff(spent)[1:].tolist()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the mean (SD) of each method."""
    parser = argparse.ArgumentParser(prog="times", description="CPU time of registrations, one thread each.")
    parser.add_argument("--data", default="oasis-trt-aligned", help="dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--pairs", type=int, default=4, help="number of registrations that are counted")
    parser.add_argument("names", nargs="+", help="recipes, presets and methods")
    given = parser.parse_args(arguments)
    dataset = Dataset.load(dataset_folder(given.data))
    images = {record.subject: dataset.read_image(record) for record in dataset.split("test")}
    pairs = [(images[fixed], images[moving]) for fixed, moving in permutations(images, 2)][: given.pairs + 1]
    for name in given.names:
        seconds = cpu_seconds(method_of(name, given.data), pairs)
        print(f"{name}: {np.mean(seconds):.2f} ({np.std(seconds):.2f}) s, {len(seconds)} pairs", flush=True)


if __name__ == "__main__":
    main()
