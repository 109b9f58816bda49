"""The cost of `ThinPlateSplineAugmentation`: alone, compared with a term-by-term spline, and in a step of DDMR.

Run as ``python -m benchmarks.augmentation [size ...]``; the default sizes are 64 and 128. The step
is that of the paper's network, with 85 million weights, at the first size. Two threads on a CPU (set before TensorFlow
starts), float32, batch of one with labels, the layer's default limits. The steps run in separate processes, in both
orders, so that each has its own memory peak.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from scipy.spatial.distance import cdist

from acreg.layers import ThinPlateSplineAugmentation
from acreg.models import DDMR
from benchmarks.measure import seconds
from benchmarks.worker import memory_mb

EXTENT = 250.0  # mm
POINTS = 8
REGIONS = 17
STEPS = 9


def layer(size: int, compiled: bool, repeats: int = 9) -> float:
    """Seconds of the layer in a graph, with or without XLA."""
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.uniform(size=(1, size, size, size, 1)).astype(np.float32),
        "labels": rng.integers(0, 5, (1, size, size, size, 1), dtype=np.int32),
    }
    augment = ThinPlateSplineAugmentation(
        control_points=POINTS, spacing=EXTENT / size, return_displacement=True, seed=0
    )
    symbols = {name: keras.Input(x.shape[1:], name=name, dtype=x.dtype.name) for name, x in inputs.items()}
    model = keras.Model(symbols, augment(symbols))
    model.compile(jit_compile=compiled)
    return seconds(lambda: model.predict_on_batch(inputs), repeats)


def term_by_term(size: int, repeats: int = 1) -> float:
    """Seconds of the spline alone: one kernel value for each voxel and control point, in NumPy, plane by plane."""
    control = np.indices((POINTS,) * 3).reshape(3, -1).T.astype(np.float64)
    at = (np.arange(size) + 0.5) / size * (POINTS - 1)
    weights = np.random.default_rng(0).normal(size=(POINTS**3, 3))

    def evaluate() -> np.ndarray:
        planes = [np.stack(np.meshgrid(np.array([z]), at, at, indexing="ij"), -1).reshape(-1, 3) for z in at]
        return np.array([cdist(plane, control) @ weights for plane in planes])

    return seconds(evaluate, repeats)


def prepare_step(size: int, made: bool) -> Callable[[], object]:
    """A training step of the paper's network on one image, whose pair is made in the step or beforehand."""
    rng = np.random.default_rng(0)
    images = {
        "image": rng.uniform(size=(1, size, size, size, 1)).astype(np.float32),
        "labels": rng.integers(0, REGIONS, (1, size, size, size, 1), dtype=np.int32),
        "spacing": np.full((1, 3), EXTENT / size, np.float32),
    }
    augment = ThinPlateSplineAugmentation(seed=0)
    model = DDMR(num_classes=REGIONS, losses={"ncc": 1, "soft_dice": 1, "diffusion": 5e-3}, augmentation=augment)
    jit = False if keras.backend.backend() == "tensorflow" else "auto"  # on a CPU, XLA slows convolutions down
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=jit)
    pairs = {name: np.asarray(value) for name, value in augment(images).items()}
    return lambda: model.train_on_batch(images if made else pairs)


def step(size: int, made: bool) -> tuple[float, float]:
    """Median seconds of such a step, and the memory peak in MB."""
    return seconds(prepare_step(size, made), STEPS), memory_mb("VmHWM")


def steps(size: int) -> None:
    """Print the time and memory that the augmentation adds to a step."""
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for made in (False, True, True, False):
        command = [sys.executable, "-m", "benchmarks.augmentation", "step", str(size), str(int(made))]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[made].append([float(number) for number in answer.split()])
    without, with_it = (np.mean(found[made], axis=0) for made in (False, True))
    print(f"\nA step of DDMR at {size}: {without[0]:.3f} s on given pairs, {with_it[0]:.3f} s on made ones", end=" ")
    print(f"({with_it[0] / without[0] - 1:+.1%}); peak {without[1]:.0f} and {with_it[1]:.0f} MB", end=" ")
    print(f"({with_it[1] / without[1] - 1:+.1%})")


def main(sizes: list[int]) -> None:
    """Print one row per size, then the steps."""
    print("size  layer  layer with XLA  spline alone, term by term")
    for size in sizes:
        print(f"{size:4} {layer(size, False):6.3f} {layer(size, True):15.3f} {term_by_term(size):27.2f}", flush=True)
    steps(sizes[0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        print(*step(int(sys.argv[2]), sys.argv[3] == "1"))
    else:
        main([int(size) for size in sys.argv[1:]] or [64, 128])
