"""The linear warp, and its gradient with respect to the displacement, as training needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import inputs
from benchmarks.measure import Benchmark, Contender

Run = Callable[[], Any]
NOTE = "The gradient of the result's sum of squares with respect to the displacement. SciPy and SimpleITK have none."


def _inputs(shape: Sequence[int], batch: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    image = inputs.one_hot(shape, classes) if classes else inputs.images(shape, batch)
    return image, inputs.displacement(shape, batch)


def acreg(shape: Sequence[int], batch: int = 1, classes: int = 0, gradient: bool = False, xla: bool = True) -> Run:
    """`acreg.layers.functional.warp`, compiled by XLA, or uncompiled as Keras runs it on a CPU."""
    from keras import ops

    from acreg.layers import functional
    from benchmarks.keras_parts import compiled, with_gradient

    def energy(image: Any, displacement: Any) -> Any:
        return ops.sum(ops.square(functional.warp(image, displacement)))

    if not gradient:
        return compiled(functional.warp, *_inputs(shape, batch, classes), xla=xla)
    run = compiled(with_gradient(energy), *_inputs(shape, batch, classes), xla=xla)
    return lambda: run()[1]


def torch(shape: Sequence[int], batch: int = 1, classes: int = 0, gradient: bool = False, device: str = "cpu") -> Run:
    """PyTorch's grid_sample."""
    import torch

    from benchmarks import torch_parts

    image, displacement = (torch_parts.first(x).to(device) for x in _inputs(shape, batch, classes))
    grid = torch_parts.identity(shape, device)
    if not gradient:
        return torch.no_grad()(lambda: torch_parts.last(torch_parts.warp(image, displacement, grid)))
    displacement.requires_grad_(True)

    def run() -> Any:
        energy = (torch_parts.warp(image, displacement, grid) ** 2).sum()
        return torch_parts.last(torch.autograd.grad(energy, displacement)[0])

    return run


def scipy(shape: Sequence[int], batch: int = 1, classes: int = 0) -> Run:
    """`scipy.ndimage.map_coordinates`, image by image and channel by channel."""
    from scipy.ndimage import map_coordinates

    image, displacement = _inputs(shape, batch, classes)
    channels = [np.ascontiguousarray(np.moveaxis(one, -1, 0)) for one in image]
    fields = [np.ascontiguousarray(np.moveaxis(one, -1, 0)) for one in displacement]
    grid = np.indices(tuple(shape), np.float32)

    def run() -> Any:
        moved = []
        for one, field in zip(channels, fields):
            at = grid + field
            moved.append([map_coordinates(channel, at, order=1, mode="nearest") for channel in one])
        return np.moveaxis(np.array(moved), 1, -1)

    return run


def simpleitk(shape: Sequence[int], batch: int = 1, classes: int = 0) -> Run:
    """SimpleITK's WarpImageFilter, image by image; one-hot labels as an image of vectors."""
    import SimpleITK as sitk

    image, displacement = _inputs(shape, batch, classes)
    many = image.shape[-1] > 1
    moving = [sitk.GetImageFromArray(one if many else one[..., 0], isVector=many) for one in image]
    fields = [
        sitk.GetImageFromArray(np.ascontiguousarray(one[..., ::-1], np.float64), isVector=True) for one in displacement
    ]

    def run() -> Any:
        moved = [
            sitk.GetArrayFromImage(sitk.Warp(one, field, outputSize=one.GetSize()))
            for one, field in zip(moving, fields)
        ]
        return np.array(moved).reshape(image.shape)

    return run


CASES: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "2d": ("8 images of 256^2", {"shape": (256, 256), "batch": 8}, {"shape": (64, 64), "batch": 2}),
    "3d": ("one image of 128^3", {"shape": (128,) * 3}, {"shape": (24,) * 3}),
    "labels": ("17 one-hot labels at 96^3", {"shape": (96,) * 3, "classes": 17}, {"shape": (16,) * 3, "classes": 5}),
}


def benchmarks(quick: bool) -> list[Benchmark]:
    """Each case forward, and with the gradient."""
    made = []
    for name, (title, full, small) in CASES.items():
        case = small if quick else full
        contenders = {
            "acreg": Contender(partial(acreg, **case)),
            "acreg, not compiled": Contender(partial(acreg, **case, xla=False)),
            "PyTorch": Contender(partial(torch, **case), ("torch",)),
            "SciPy": Contender(partial(scipy, **case)),
            "SimpleITK": Contender(partial(simpleitk, **case), ("SimpleITK",)),
        }
        made.append(Benchmark(__name__, f"warp-{name}", f"Warp: {title}", contenders, 1e-4, faster=2.0))
        contenders = {
            "acreg": Contender(partial(acreg, **case, gradient=True)),
            "acreg, not compiled": Contender(partial(acreg, **case, gradient=True, xla=False)),
            "PyTorch": Contender(partial(torch, **case, gradient=True), ("torch",)),
        }
        title = f"Warp with gradient: {title}"
        made.append(Benchmark(__name__, f"warp-{name}-gradient", title, contenders, 1e-3, faster=1.0, note=NOTE))
    return made
