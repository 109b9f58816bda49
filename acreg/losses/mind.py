"""The modality independent neighbourhood descriptor with self-similarity context (MIND-SSC), and its difference."""

from __future__ import annotations

import itertools

import numpy as np
from keras import ops
from numpy.typing import NDArray

from acreg.layers.tensor import Tensor

LOWEST, HIGHEST = 1e-3, 1e3
"""Limits of the local variance, in multiples of its mean over the image."""
FLAT = 1e-12
"""The smallest variance: below it, an image is constant."""


def mind_ssc(image: Tensor, radius: int = 1, dilation: int = 2) -> Tensor:
    """The MIND-SSC features of an image: how alike the patches around each voxel are, whatever their grey values mean.

    The patches lie at ``o_i``, ``dilation`` voxels from the voxel in both directions of every axis. Each pair of
    patches on different axes gives one channel: with ``D_k(x) = mean (I(y + o_i) - I(y + o_j))^2`` over the window
    of ``2 radius + 1`` voxels per side around ``x``, ``m_k = D_k - min_k D_k`` and ``V = mean_k m_k``, limited to
    between 0.001 and 1000 times its mean over the image, the channel is ``exp(-m_k / V)``. Outside, the image has its
    edge values. The features do not change if the image becomes ``a * image + b``, and nearly not if ``a`` and ``b``
    vary slowly: they can be compared between modalities. Those of a constant image are 1.

    Args:
        image: ``(batch, *spatial, channels)``, 2-D or 3-D. Squared differences are averaged over the channels.
        radius: of the window, voxels.
        dilation: distance of the patches from the voxel, voxels.

    Returns:
        float32 ``(batch, *spatial, 12)``, ``(batch, *spatial, 4)`` in 2-D, in (0, 1].

    Source: Heinrich et al., Towards realtime multimodal fusion for image-guided interventions using
    self-similarities, MICCAI 2013.
    """
    return ops.stack(_planes(image, radius, dilation), axis=-1)


def mind_ssc_difference(fixed: Tensor, warped: Tensor, radius: int = 1, dilation: int = 2) -> Tensor:
    """Mean squared difference of the `mind_ssc` features of two images, over voxels and channels, ``(batch,)``."""
    pairs = zip(_planes(fixed, radius, dilation), _planes(warped, radius, dilation), strict=True)
    squares = [ops.square(f - w) for f, w in pairs]
    return ops.mean(sum(squares[1:], squares[0]), axis=tuple(range(1, len(fixed.shape) - 1))) / len(squares)


def _planes(image: Tensor, radius: int, dilation: int) -> list[Tensor]:
    """The channels of `mind_ssc`, one by one: arrays of one channel are faster to shift and to add than a stack."""
    distances = _distances(ops.cast(image, "float32"), radius, dilation)
    lowest = distances[0]
    for distance in distances[1:]:
        lowest = ops.minimum(lowest, distance)
    distances = [distance - lowest for distance in distances]
    variance: Tensor = sum(distances[1:], distances[0]) / len(distances)
    mean = ops.mean(variance, axis=tuple(range(1, len(variance.shape))), keepdims=True)
    variance = ops.maximum(ops.minimum(ops.maximum(variance, LOWEST * mean), HIGHEST * mean), FLAT)
    rate = -1.0 / variance
    return [ops.exp(distance * rate) for distance in distances]


def _distances(image: Tensor, radius: int, dilation: int) -> list[Tensor]:
    """The mean squared differences ``D_k`` of patches, each ``(batch, *spatial)``.

    The two pairs of patches at ``a, b`` and ``-b, -a`` differ by the same offset ``b - a``. Their differences are thus
    the same image at two places, which is computed once, large enough for both.
    """
    rank = len(image.shape) - 2
    padded = _extend(image, radius + dilation)
    steps = dilation * np.eye(rank, dtype=int)
    found = []
    for i, j in itertools.combinations(range(rank), 2):
        for a, b in ((steps[i], steps[j]), (steps[i], -steps[j])):
            before, after = np.maximum(0, b), np.maximum(a, -b)  # how far the places a and -b lie outside of the image
            here = _cropped(padded, dilation - before, dilation - after)
            there = _cropped(padded, dilation - before + b - a, dilation - after - b + a)
            distance = _window_mean(ops.mean(ops.square(here - there), axis=-1), radius)
            found += [_cropped(distance, before + place, after - place) for place in (a, -b)]
    return found


def _cropped(x: Tensor, before: NDArray[np.int_], after: NDArray[np.int_]) -> Tensor:
    """``(batch, *spatial, ...)`` without some voxels ``before`` and ``after`` those that remain along each axis."""
    inside = (slice(start, -end or None) for start, end in zip(before.tolist(), after.tolist(), strict=True))
    return x[(slice(None), *inside)]


def _extend(x: Tensor, width: int) -> Tensor:
    """The image with its edge values repeated on ``width`` voxels before and after it along each axis."""
    for axis in range(1, len(x.shape) - 1):
        first, last = ([slice(None)] * len(x.shape) for _ in range(2))
        first[axis], last[axis] = slice(0, 1), slice(-1, None)
        x = ops.concatenate([*[x[tuple(first)]] * width, x, *[x[tuple(last)]] * width], axis=axis)
    return x


def _window_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over the windows of ``2 radius + 1`` voxels per side that lie inside of ``(batch, *spatial)``.

    It is a sum of rolled arrays without the ends that are rolled in: sums of slices have a slower gradient.
    """
    axes = range(1, len(x.shape))
    for axis in axes:
        total = x
        for shift in range(1, radius + 1):
            total = total + (ops.roll(x, shift, axis) + ops.roll(x, -shift, axis))
        x = total
    rim = np.full(len(axes), radius)
    return _cropped(x, rim, rim) / float((2 * radius + 1) ** len(axes))
