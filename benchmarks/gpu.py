"""Benchmarks on a GPU with JAX: bandwidth of the warp relative to a large copy, and cost of the augmentation in a step.

TensorFlow need not be installed. The contenders' processes run with ``KERAS_BACKEND=jax``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

from benchmarks import warp
from benchmarks.measure import COPY, Benchmark, Contender

Run = Callable[[], Any]
# Several processes share the memory; without the second variable, JAX would take most of it.
ENVIRONMENT = {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
COPIED = 2**28
"""Numbers in the large copy: 1 GiB is read and written."""
CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "2d": ("256 images of 256^2", {"shape": (256, 256), "batch": 256}),
    "3d": ("4 images of 128^3", {"shape": (128,) * 3, "batch": 4}),
    "labels": ("17 one-hot labels at 128^3", {"shape": (128,) * 3, "classes": 17}),
}


def absent() -> str:
    """The reason why JAX sees no GPU; empty if it sees one."""
    backend = _asked("jax.default_backend()")
    if backend in ("gpu", "cuda", "rocm"):
        return ""
    return f"JAX sees no GPU, only the {backend}" if backend else "JAX is not installed"


def name() -> str:
    """The name of the first GPU."""
    return _asked("jax.devices()[0].device_kind")


def _asked(expression: str) -> str:
    """The value of an expression in another process, which then releases the GPU's memory; empty if that fails."""
    code = f"import jax; print({expression})"
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    return done.stdout.strip()


def copy(numbers: int) -> Run:
    """One is added to each number."""
    import numpy as np

    from benchmarks.keras_parts import compiled

    return compiled(lambda x: x + 1.0, np.zeros(numbers, np.float32))


def step(made: bool, size: int) -> Run:
    """A training step of the paper's DDMR, whose pairs are made in the step or beforehand."""
    from benchmarks.augmentation import prepare_step

    return prepare_step(size, made)


def _moved(shape: tuple[int, ...], batch: int = 1, classes: int = 0, gradient: bool = False) -> int:
    """Minimum number of bytes: image and displacement are read; the result, or only the gradient, is written."""
    channels, rank = classes or 1, len(shape)
    return 4 * batch * prod(shape) * (channels + rank + (rank if gradient else channels))


def benchmarks(quick: bool) -> list[Benchmark]:
    """The warp, forward and with gradient, compared with a copy; the step with and without the augmentation."""
    numbers, size = (2**16, 16) if quick else (COPIED, 64)
    made = []
    for name, (title, case) in CASES.items():
        case = {**case, "shape": (16,) * len(case["shape"]), "batch": 1} if quick else case
        for gradient in (False, True):
            contenders = {
                "acreg": Contender(partial(warp.acreg, **case, gradient=gradient), ("jax",)),
                "PyTorch": Contender(partial(warp.torch, **case, gradient=gradient, device="cuda"), ("torch",)),
            }
            moved = _moved(**case, gradient=gradient)
            contenders = {n: Contender(c.prepare, c.needs, moved=moved) for n, c in contenders.items()}
            contenders[COPY] = Contender(partial(copy, numbers), ("jax",), moved=8 * numbers)
            made.append(
                Benchmark(
                    __name__,
                    f"gpu-warp-{name}" + ("-gradient" if gradient else ""),
                    f"GPU: warp{' with gradient' if gradient else ''}, {title}",
                    contenders,
                    1e-3,
                    note=warp.NOTE if gradient else "",
                    calls=20,
                    device="gpu",
                    environment=ENVIRONMENT,
                )
            )
    contenders = {
        "acreg, pairs made in the step": Contender(partial(step, True, size), ("jax",)),
        "acreg, pairs made before": Contender(partial(step, False, size), ("jax",)),
    }
    made.append(
        Benchmark(
            __name__,
            "gpu-augmentation",
            f"GPU: a training step of DDMR at {size}^3 with thin-plate-spline augmentation",
            contenders,
            note="The augmentation's share of the step is 1 minus the ratio of the second row.",
            device="gpu",
            environment=ENVIRONMENT,
        )
    )
    return made
