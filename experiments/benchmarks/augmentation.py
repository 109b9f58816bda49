"""Seconds that `ThinPlateSplineAugmentation` takes for a volume, beside its spline evaluated term by term.

Run as ``python -m acreg.experiments.benchmarks.augmentation [size ...]``; sizes are 64 and 128 unless given. Two
threads on a CPU (set before TensorFlow starts), float32, batch of one with labels, the layer's default limits.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from acreg.layers import ThinPlateSplineAugmentation

EXTENT = 250.0  # mm
POINTS = 8


def seconds(function: Callable[[], object], repeats: int) -> float:
    """The median time of a call, after one that does not count."""
    function()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return median(taken)


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
    """Seconds of the spline alone, a kernel value for each voxel and control point, in NumPy, plane by plane."""
    control = np.indices((POINTS,) * 3).reshape(3, -1).T.astype(np.float64)
    at = (np.arange(size) + 0.5) / size * (POINTS - 1)
    weights = np.random.default_rng(0).normal(size=(POINTS**3, 3))

    def evaluate() -> NDArray:
        planes = [np.stack(np.meshgrid(np.array([z]), at, at, indexing="ij"), -1).reshape(-1, 3) for z in at]
        return np.array([cdist(plane, control) @ weights for plane in planes])

    return seconds(evaluate, repeats)


def main(sizes: list[int]) -> None:
    """Prints a row a size."""
    print("size  layer  layer with XLA  spline alone, term by term")
    for size in sizes:
        print(f"{size:4} {layer(size, False):6.3f} {layer(size, True):15.3f} {term_by_term(size):27.2f}", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [64, 128])
