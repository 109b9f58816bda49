"""Losses on pairs of volumes, with their gradient with respect to the warped image, as training needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import inputs
from benchmarks.measure import Benchmark, Contender

Run = Callable[[], Any]
WINDOW, BINS = 9, 32


def _pair(shape: Sequence[int], margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Fixed and warped, which differ by a change of contrast and some noise, in [0, 1].

    With a margin, they are zero within this number of voxels of the border and well above zero inside. Every window
    that reaches the inside then has a variance much larger than the constant that programs add to it, which differs.
    """
    fixed, noise = inputs.images(shape, 2)[:, None]
    warped = 0.7 * fixed**2 + 0.3 * noise
    if margin:
        border = (margin, margin)
        core = np.full([n - 2 * margin for n in shape], 5.0, np.float32)
        inside = np.pad(core, [border] * len(shape))[None, ..., None]
        fixed, warped = inside * (0.5 + 0.5 * fixed), inside * (0.5 + 0.5 * warped)
    return fixed, np.ascontiguousarray(warped, np.float32)


def acreg(name: str, shape: Sequence[int], margin: int, xla: bool = True) -> Run:
    """A loss of `acreg.losses`."""
    from keras import ops

    from acreg import losses
    from benchmarks.keras_parts import compiled, with_gradient

    function: Any = losses.IMAGE_LOSSES[name]

    def loss(fixed: Any, warped: Any) -> Any:
        return ops.sum(function(fixed, warped))

    return compiled(with_gradient(loss), *_pair(shape, margin), xla=xla)


def torch(
    make: Callable[[Any, Any], Callable[[Any, Any], Any]],
    shape: Sequence[int],
    margin: int,
    same_gradient: bool = True,
) -> Run:
    """A loss on PyTorch's tensors ``(batch, channels, *spatial)``; `make` builds it from the fixed and warped ones.

    Without `same_gradient`, the gradient is computed but not compared.
    """
    import torch

    from benchmarks import torch_parts

    fixed, warped = (torch_parts.first(x) for x in _pair(shape, margin))
    function = make(fixed, warped)
    warped.requires_grad_(True)

    def run() -> Any:
        value = function(fixed, warped)
        gradient = torch_parts.last(torch.autograd.grad(value, warped)[0])
        return (value.detach(), gradient)[: 2 if same_gradient else 1]

    return run


def local_ncc_monai(fixed: Any, warped: Any) -> Callable[[Any, Any], Any]:
    """MONAI's loss plus one."""
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    loss = LocalNormalizedCrossCorrelationLoss(3, WINDOW)
    return lambda fixed, warped: 1 + loss(warped, fixed)


def local_ncc_voxelmorph(fixed: Any, warped: Any) -> Callable[[Any, Any], Any]:
    """The loss of neurite, to which VoxelMorph 0.3 refers."""
    from neurite.functional import ncc

    return lambda fixed, warped: 1 - ncc(fixed, warped, WINDOW, non_spatial_dims=(0, 1)).mean()


def mutual_information_torch(fixed: Any, warped: Any) -> Callable[[Any, Any], Any]:
    """acreg's formula, with DeepReg's histogram."""
    import torch

    centres = torch.arange(BINS, dtype=torch.float32)

    def windows(x: Any) -> Any:
        return torch.softmax(-0.5 * (((BINS - 1) * x.reshape(-1, 1) - centres) / 0.5) ** 2, 1)

    def entropy(p: Any) -> Any:
        return -(p * torch.log(p.clamp_min(1e-12))).sum()

    def loss(fixed: Any, warped: Any) -> Any:
        a, b = windows(fixed), windows(warped)
        joint = a.T @ b / len(a)
        return 2 - (entropy(joint.sum(1)) + entropy(joint.sum(0))) / entropy(joint)

    return loss


def mutual_information_monai(fixed: Any, warped: Any) -> Callable[[Any, Any], Any]:
    """MONAI's loss, divided by the joint entropy, computed once beforehand, so that values can be compared."""
    import torch
    from monai.losses import GlobalMutualInformationLoss

    loss = GlobalMutualInformationLoss("gaussian", BINS, sigma_ratio=0.5)
    with torch.no_grad():
        a, _, b, _ = loss.parzen_windowing(warped, fixed)
        joint = (a.transpose(1, 2) @ b) / a.shape[1]
        entropy = -(joint * torch.log(joint.clamp_min(1e-12))).sum()
    return lambda fixed, warped: 1 + loss(warped, fixed) / entropy


def benchmarks(quick: bool) -> list[Benchmark]:
    """The benchmarks, in 3-D."""
    cube = (32 if quick else 96,) * 3
    margin = WINDOW
    local: dict[str, Contender] = {
        "acreg": Contender(partial(acreg, "local_ncc", cube, margin, xla=True)),
        "acreg, not compiled": Contender(partial(acreg, "local_ncc", cube, margin, xla=False)),
        "MONAI": Contender(partial(torch, local_ncc_monai, cube, margin), ("torch", "monai")),
        "VoxelMorph": Contender(partial(torch, local_ncc_voxelmorph, cube, margin), ("torch", "neurite")),
    }
    information: dict[str, Contender] = {
        "acreg": Contender(partial(acreg, "mutual_information", cube, 0, xla=True)),
        "acreg, not compiled": Contender(partial(acreg, "mutual_information", cube, 0, xla=False)),
        "MONAI": Contender(partial(torch, mutual_information_monai, cube, 0, False), ("torch", "monai")),
        "PyTorch": Contender(partial(torch, mutual_information_torch, cube, 0), ("torch",)),
    }
    size = f"{cube[0]}^3"
    return [
        Benchmark(
            __name__,
            "local-ncc",
            f"Local NCC with gradient, windows of {WINDOW}^3, {size}",
            local,
            1e-3,
            note=f"VoxelMorph's loss is in its package neurite. Images are zero within {margin} voxels of the border, "
            "because peers include values beyond it.",
        ),
        Benchmark(
            __name__,
            "mutual-information",
            f"Mutual information with gradient, {BINS} bins, {size}",
            information,
            1e-3,
            note="PyTorch computes acreg's formula in a few lines. acreg's loss is divided by the joint entropy, "
            "MONAI's is not: its value is divided before the comparison, and its gradient is not compared.",
        ),
    ]
