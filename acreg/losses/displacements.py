"""Losses on displacements of pairs whose true displacement is known: fields ``(batch, *spatial, rank)`` in voxels."""

from __future__ import annotations

from keras import ops

from acreg.layers.tensor import Tensor

WORST = 0.9
"""Relative error above which `displacement_error` grows linearly."""


def endpoint_error(true: Tensor, found: Tensor) -> Tensor:
    """Mean length of the difference, ``(batch,)``, voxels.

    Source: Dosovitskiy et al., FlowNet: Learning optical flow with convolutional networks, ICCV 2015.
    """
    squared = ops.sum(ops.square(found - ops.cast(true, "float32")), axis=-1)
    return ops.mean(ops.sqrt(squared + 1e-6), axis=tuple(range(1, len(squared.shape))))


def displacement_error(true: Tensor, found: Tensor) -> Tensor:
    """``-log(1 - r)``, ``(batch,)``, of the mean squared error relative to the square of the longest true displacement.

    Above r = 0.9 it continues as its tangent, so that it has a value and a gradient for any field.

    Source: Mahapatra et al., Joint registration and segmentation of X-ray images using generative adversarial networks,
    MLMI 2018, eq. 4; with the sign printed there, minimising would increase the error.
    """
    true = ops.cast(true, "float32")
    axes = tuple(range(1, len(true.shape) - 1))
    error = ops.mean(ops.sum(ops.square(found - true), axis=-1), axis=axes)
    largest = ops.max(ops.sum(ops.square(true), axis=-1), axis=axes)
    r = error / ops.maximum(largest, 1e-6)
    return -ops.log(1.0 - ops.minimum(r, WORST)) + ops.maximum(r - WORST, 0.0) / (1.0 - WORST)
