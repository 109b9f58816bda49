"""Training on more subjects than fit into memory: peak memory and steps per second, in memory and streamed.

Run as ``python -m benchmarks.streaming --subjects 2000 --size 96 --folder runs/streaming``. It makes so many labelled
volumes, which are kept in the folder, and trains a small network on them, as ``acreg train`` does, in a process for
each way: in memory, with at most ``--memory`` GB of subjects in memory, and the same with two workers. The last column
says whether the weights are those of the first way, bit for bit. The rate is that of all epochs but the first, in which
TensorFlow compiles the step.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from acreg.data.manifest import Dataset
from acreg.data.records import Record
from acreg.geometry import Grid
from acreg.io import Image, write_image
from benchmarks import inputs
from benchmarks.worker import cpu_seconds, memory_mb

CLASSES = 5
EPOCHS = 4
HELD_OUT = 2
RECIPE = """
name: streaming
data:
  dataset: {dataset}
  shape: [{size}, {size}, {size}]
  validation_pairs: 1
  memory: {memory}
  workers: {workers}
model:
  class: RegNet
  arguments: {{network: pyramid, filters: [8, 8, 16], losses: {{ncc: 1, diffusion: 1}}}}
optimizer: {{learning_rate: 1e-3}}
training: {{batch_size: 1, steps: {steps}, steps_per_epoch: {epoch}}}
"""


def make(folder: Path, subjects: int, size: int) -> None:
    """A dataset of volumes of 8 bits with `CLASSES` labels: one volume, shifted and changed in brightness."""
    if (folder / "manifest.csv").is_file():
        return
    shape, grid = (size,) * 3, Grid((size,) * 3)
    image, labels = inputs.images(shape)[0, ..., 0], inputs.labels(shape, CLASSES)
    rng, records = np.random.default_rng(0), []
    for number in range(subjects + HELD_OUT):
        shift, gamma = tuple(rng.integers(0, size, 3).tolist()), rng.uniform(0.7, 1.4)
        split = "train" if number < subjects else "validation"
        files = [folder / kind / f"{number:05d}.nii" for kind in ("images", "labels")]
        records.append(Record(f"{number:05d}", files[0], files[1], split))
        made = np.rint(255 * np.roll(image, shift, (0, 1, 2)) ** gamma)
        write_image(Image(made.astype(np.float32), grid), files[0])
        write_image(Image(np.roll(labels, shift, (0, 1, 2)), grid, kind="labels"), files[1])
    names = {value: f"label {value}" if value else "background" for value in range(CLASSES)}
    Dataset(folder, "made volumes", records, names, (1.0, 1.0, 1.0)).save()


def train(recipe: Path, run: Path) -> dict[str, Any]:
    """Train in this process; returns what was measured."""
    from acreg.training import load_recipe, run_recipe
    from acreg.training.checkpoint import load_checkpoint

    begin = time.perf_counter()
    run_recipe(load_recipe(recipe), run)
    found = load_checkpoint(run / "checkpoints", "network")
    with (run / "metrics.csv").open(encoding="utf-8") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
    weights = sha256(b"".join(value.tobytes() for _, value in sorted(found[1].items()))) if found else sha256()
    return {
        "steps_per_second": load_recipe(recipe).training.steps_per_epoch * (EPOCHS - 1) / sum(seconds[1:]),
        "minutes_before": (time.perf_counter() - begin - sum(seconds)) / 60,
        "cpu_seconds": cpu_seconds(),
        "peak_mb": memory_mb("VmHWM"),
        "weights": weights.hexdigest(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row for each way."""
    parser = argparse.ArgumentParser(prog="benchmarks.streaming", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--subjects", type=int, default=200, help="for training (200)")
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis (96)")
    parser.add_argument("--steps", type=int, default=40, help=f"of each training, a multiple of {EPOCHS} (40)")
    parser.add_argument("--memory", type=float, default=0.1, help="GB of subjects in memory, if streamed (0.1)")
    parser.add_argument("--streamed-only", action="store_true", help="leave out the training in memory")
    parser.add_argument("--folder", type=Path, default=Path("runs/streaming"), help="of data and runs (runs/streaming)")
    given = parser.parse_args(arguments)
    dataset = given.folder / f"{given.subjects}-{given.size}"
    make(dataset, given.subjects, given.size)
    voxels = (given.subjects + HELD_OUT) * given.size**3
    print(f"{given.subjects} subjects of {given.size}^3: images {voxels * 4 / 1e9:.2f} GB as float32, ", end="")
    print(f"{voxels * 2 / 1e9:.2f} GB as stored, and as much again and half of it for labels")
    print(f"{'subjects':>22} workers  peak MB  steps/s  CPU s  minutes before  same weights")
    ways = [("in memory", 1e6, 1), ("streamed", given.memory, 1), ("streamed", given.memory, 2)]
    first = None
    for name, memory, workers in ways[given.streamed_only :]:
        run = given.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        values = {"size": given.size, "steps": given.steps, "epoch": given.steps // EPOCHS}
        recipe = given.folder / "recipe.yaml"
        text = RECIPE.format(dataset=dataset.absolute(), memory=memory, workers=workers, **values)
        recipe.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.streaming", "train", str(recipe), str(run)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_DETERMINISTIC_OPS": "1", **os.environ}
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
        found = json.loads(answer.splitlines()[-1])
        first = first or found["weights"]
        label = name if name == "in memory" else f"streamed, {memory:g} GB"
        print(
            f"{label:>22} {workers:7} {found['peak_mb']:8.0f} {found['steps_per_second']:8.2f} "
            f"{found['cpu_seconds']:6.0f} {found['minutes_before']:15.1f}  {found['weights'] == first}",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        print(json.dumps(train(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main()
