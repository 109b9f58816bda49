"""How time and memory grow with the size of the image and with the number of labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import fields, losses, networks, programs, warp
from benchmarks.measure import Benchmark, Contender

SIZES = {2: (64, 96, 128, 192, 256), 3: (32, 48, 64, 96, 128, 160)}
CLASSES = (2, 4, 8, 16, 32)
WORK: dict[str, tuple[str, Callable[..., Any]]] = {
    "warp": ("warp", warp.acreg),
    "integration": ("velocity integration", lambda shape: fields.integrate(shape, xla=False)),
    "local-ncc": ("local NCC with gradient", lambda shape: losses.acreg("local_ncc", shape, 0)),
    "unet": ("VoxelMorph's U-Net, forward", networks.forward),
    "step": ("VoxelMorph's U-Net, training step", lambda shape: networks.step(shape, before=0)),
}
LARGEST_STEP = 100
"""Voxels along an axis in 3-D above which a training step would take minutes on a small machine."""


def benchmarks(quick: bool) -> list[Benchmark]:
    """Some parts of a registration for several sizes, in 2-D and 3-D; warp and scores for several numbers of labels."""
    made = []
    for rank, sizes in SIZES.items():
        for name, (title, prepare) in WORK.items():
            contenders = {
                f"acreg {n}^{rank}": Contender(partial(prepare, (n,) * rank), size=n**rank)
                for n in ((16, 32) if quick else sizes)
                if name != "step" or rank == 2 or n < LARGEST_STEP
            }
            title = f"Growth with the image, {rank}-D: {title}"
            made.append(Benchmark(__name__, f"growth-{name}-{rank}d", title, contenders, size_name="voxels"))
    cube = (16 if quick else 64,) * 3
    by_labels: dict[str, tuple[str, Callable[[int], Any]]] = {
        "warp": ("warp of one-hot labels", lambda n: warp.acreg(cube, classes=n)),
        "scores": ("scores of a pair", lambda n: programs.scores(cube, n)),
    }
    for name, (title, make) in by_labels.items():
        contenders = {
            f"acreg {n} labels": Contender(partial(make, n), size=n) for n in (CLASSES[:2] if quick else CLASSES)
        }
        title = f"Growth with the labels, {cube[0]}^3: {title}"
        made.append(Benchmark(__name__, f"growth-{name}-labels", title, contenders, size_name="labels"))
    return made
