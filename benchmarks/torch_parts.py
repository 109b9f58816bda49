"""Functions that the PyTorch contenders share: the warp with grid_sample, and VoxelMorph's U-Net in a few lines.

In PyTorch, channels are the second axis, and grid_sample expects positions from -1 to 1, the last axis first. Inputs
are reordered before the timing; positions are computed within it, since a displacement comes from a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

Tensor = Any


def first(x: np.ndarray) -> Tensor:
    """``(batch, *spatial, channels)`` as ``(batch, channels, *spatial)``, contiguous."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def last(x: Tensor) -> Tensor:
    """The inverse of `first`, as a view."""
    return x.detach().movedim(1, -1)


def identity(shape: Sequence[int], device: Any = None) -> Tensor:
    """Positions in voxels, ``(1, rank, *shape)``."""
    lines = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"))[None]


def warp(image: Tensor, displacement: Tensor, grid: Tensor) -> Tensor:
    """``image(p + u(p))``: linear, edge values outside."""
    rank = displacement.shape[1]
    scale = torch.tensor([2.0 / (n - 1) for n in image.shape[2:]], device=image.device).reshape(1, rank, *(1,) * rank)
    at = ((grid + displacement) * scale - 1).movedim(1, -1).flip(-1)
    return F.grid_sample(image, at, mode="bilinear", padding_mode="border", align_corners=True)


def diffusion(field: Tensor) -> Tensor:
    """The mean squared difference of neighbours, averaged over axes."""
    rank = field.shape[1]
    return sum((field.diff(dim=axis) ** 2).mean() for axis in range(2, rank + 2)) / rank


class UNet(nn.Module):
    """The network of `acreg.models.voxelmorph.voxelmorph_unet`.

    Args:
        rank: 2 or 3.
        weights: (kernel, bias) of each convolution, as Keras has them, in the order of the network.
        levels: number of times that the grid is halved.
    """

    def __init__(self, rank: int, weights: Sequence[tuple[np.ndarray, np.ndarray]], levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.pool = F.max_pool2d if rank == 2 else F.max_pool3d
        kind = nn.Conv2d if rank == 2 else nn.Conv3d
        self.convolutions = nn.ModuleList()
        for kernel, bias in weights:
            layer = kind(kernel.shape[-2], kernel.shape[-1], 3, padding=1)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(np.moveaxis(kernel, (-1, -2), (0, 1)).copy()))
                layer.bias.copy_(torch.from_numpy(bias))
            self.convolutions.append(layer)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """The field, ``(batch, rank, *spatial)``."""
        *blocks, head = self.convolutions
        x, skips = torch.cat([moving, fixed], 1), []
        for number, layer in enumerate(blocks):
            x = F.leaky_relu(layer(x), 0.2)
            if number < self.levels:
                skips.append(x)
                x = self.pool(x, 2)
            elif number < 2 * self.levels:
                x = torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], 1)
        return head(x)
