"""Velocity integration, composition of displacements, and thin-plate splines at every voxel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import inputs
from benchmarks.measure import Benchmark, Contender

Run = Callable[[], Any]
STEPS = 7
POINTS = 8
"""Control points of the spline along each axis."""


def integrate(shape: Sequence[int], xla: bool = True) -> Run:
    """`acreg.layers.functional.integrate`."""
    from acreg.layers import functional
    from benchmarks.keras_parts import compiled

    return compiled(lambda velocity: functional.integrate(velocity, STEPS), inputs.velocity(shape), xla=xla)


def integrate_torch(shape: Sequence[int]) -> Run:
    """The same with grid_sample."""
    import torch

    from benchmarks import torch_parts

    velocity, grid = torch_parts.first(inputs.velocity(shape)), torch_parts.identity(shape)

    def run() -> Any:
        field = velocity / 2**STEPS
        for _ in range(STEPS):
            field = field + torch_parts.warp(field, field, grid)
        return torch_parts.last(field)

    return torch.no_grad()(run)


def integrate_monai(shape: Sequence[int]) -> Run:
    """MONAI's DVF2DDF."""
    import torch
    from monai.networks.blocks import DVF2DDF

    from benchmarks import torch_parts

    velocity, layer = torch_parts.first(inputs.velocity(shape)), DVF2DDF(STEPS, padding_mode="border")
    return torch.no_grad()(lambda: torch_parts.last(layer(velocity)))


def integrate_voxelmorph(shape: Sequence[int]) -> Run:
    """VoxelMorph's integrate_vec."""
    import torch
    from voxelmorph.functional import integrate_vec

    from benchmarks import torch_parts

    velocity = torch_parts.first(inputs.velocity(shape))
    return torch.no_grad()(lambda: torch_parts.last(integrate_vec(velocity, STEPS, non_spatial_dims=(0,))))


def _two(shape: Sequence[int]) -> list[np.ndarray]:
    """Displacements that vanish towards the border; the second samples the first away from the centres of voxels."""
    return [inputs.velocity(shape, size=size) for size in (2.0, 1.0)]


def compose(shape: Sequence[int], xla: bool = True) -> Run:
    """`acreg.layers.functional.compose`."""
    from acreg.layers import functional
    from benchmarks.keras_parts import compiled

    return compiled(functional.compose, *_two(shape), xla=xla)


def compose_monai(shape: Sequence[int]) -> Run:
    """With MONAI's Warp, as in its DVF2DDF."""
    import torch
    from monai.networks.blocks import Warp

    from benchmarks import torch_parts

    (a, b), warp = (torch_parts.first(x) for x in _two(shape)), Warp()
    return torch.no_grad()(lambda: torch_parts.last(b + warp(a, b)))


def compose_voxelmorph(shape: Sequence[int]) -> Run:
    """VoxelMorph's compose."""
    import torch
    from voxelmorph.functional import compose as both

    from benchmarks import torch_parts

    a, b = (torch_parts.first(x) for x in _two(shape))
    return torch.no_grad()(lambda: torch_parts.last(both([a, b])))


def _control(rank: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(1, *(POINTS,) * rank, rank)).astype(np.float32)


def spline(shape: Sequence[int], xla: bool = True) -> Run:
    """`acreg.layers.grid_spline.grid_spline`."""
    from acreg.layers.grid_spline import grid_spline
    from benchmarks.keras_parts import compiled

    return compiled(lambda values: grid_spline(values, shape), _control(len(shape)), xla=xla)


def _places(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Control points ``(n, rank)`` and voxels ``(size of axis 0, others, rank)``, in control cells."""
    rank = len(shape)
    points = np.indices((POINTS,) * rank).reshape(rank, -1).T.astype(np.float32)
    lines = [((np.arange(n) + 0.5) / n * (POINTS - 1)).astype(np.float32) for n in shape]
    return points, np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(shape[0], -1, rank)


def spline_scipy(shape: Sequence[int]) -> Run:
    """SciPy's RBFInterpolator; its weights are computed beforehand."""
    from scipy.interpolate import RBFInterpolator

    rank = len(shape)
    points, voxels = _places(shape)
    kernel = "linear" if rank == 3 else "thin_plate_spline"
    function = RBFInterpolator(points, _control(rank).reshape(-1, rank), kernel=kernel, degree=1)
    return lambda: function(voxels.reshape(-1, rank)).reshape(1, *shape, rank)


def spline_torch(shape: Sequence[int]) -> Run:
    """One kernel value for each voxel and control point, plane by plane, as in DeepReg and tensorflow-addons."""
    import torch

    rank = len(shape)
    points, voxels = (torch.from_numpy(x) for x in _places(shape))
    values = torch.from_numpy(_control(rank).reshape(-1, rank))

    def terms(x: Any) -> Any:
        distance = torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist")
        kernel = -distance if rank == 3 else distance**2 * torch.log(distance.clamp_min(1e-20))
        return torch.cat([kernel, x, torch.ones_like(x[:, :1])], 1)

    matrix = torch.zeros(len(points) + rank + 1, len(points) + rank + 1, dtype=torch.float64)
    matrix[: len(points)] = terms(points).double()
    matrix[len(points) :, : len(points)] = matrix[: len(points), len(points) :].T
    right = torch.cat([values.double(), torch.zeros(rank + 1, rank, dtype=torch.float64)])
    weights = torch.linalg.solve(matrix, right).float()
    return torch.no_grad()(lambda: torch.stack([terms(plane) @ weights for plane in voxels]).reshape(1, *shape, rank))


def benchmarks(quick: bool) -> list[Benchmark]:
    """The benchmarks in 3-D, and the spline in 2-D as well."""
    cube = (16 if quick else 96,) * 3
    made = [
        Benchmark(
            __name__,
            "integration",
            f"Velocity integration: {STEPS} squarings, {cube[0]}^3",
            {
                "acreg": Contender(partial(integrate, cube)),
                "acreg, not compiled": Contender(partial(integrate, cube, xla=False)),
                "PyTorch": Contender(partial(integrate_torch, cube), ("torch",)),
                "MONAI": Contender(partial(integrate_monai, cube), ("torch", "monai")),
                "VoxelMorph": Contender(partial(integrate_voxelmorph, cube), ("torch", "voxelmorph")),
            },
            1e-3,
            note="The peers are MONAI's DVF2DDF, VoxelMorph's integrate_vec and a few lines around grid_sample. The "
            "velocity vanishes towards the border, because these programs differ there.",
        ),
        Benchmark(
            __name__,
            "composition",
            f"Composition of two displacements, {cube[0]}^3",
            {
                "acreg": Contender(partial(compose, cube)),
                "acreg, not compiled": Contender(partial(compose, cube, xla=False)),
                "MONAI": Contender(partial(compose_monai, cube), ("torch", "monai")),
                "VoxelMorph": Contender(partial(compose_voxelmorph, cube), ("torch", "voxelmorph")),
            },
            1e-3,
            note="The peers are MONAI's Warp, used as in its DVF2DDF, and VoxelMorph's compose.",
        ),
    ]
    for shape in ((32, 32), (12,) * 3) if quick else ((256, 256), (64,) * 3):
        contenders = {
            "acreg": Contender(partial(spline, shape)),
            "acreg, not compiled": Contender(partial(spline, shape, xla=False)),
            "SciPy": Contender(partial(spline_scipy, shape)),
            "PyTorch": Contender(partial(spline_torch, shape), ("torch",)),
        }
        rank = len(shape)
        made.append(
            Benchmark(
                __name__,
                f"spline-{rank}d",
                f"Thin-plate spline through {POINTS}^{rank} control points at {shape[0]}^{rank} voxels",
                contenders,
                0.02,
                note="The peers are SciPy's RBFInterpolator and a PyTorch implementation that, like DeepReg, computes "
                "a kernel value for each voxel and point. The results differ because acreg approximates the kernel by "
                "a sum of Gaussians. The peers solve the system for their weights before they are timed; acreg "
                "multiplies by its inverse in each call.",
            )
        )
    return made
