"""Normalised mutual information of two images under an affine map, with its gradient by the map.

Studholme et al., Pattern Recognition 32 (1999), equation 4; the smooth joint histogram is that of Mattes et al., IEEE
Transactions on Medical Imaging 22 (2003): the sampled image falls into one bin, the image that moves below it is shared
among four by a cubic B-spline, so that the histogram has a gradient. The images take both roles in turn, so that a map
and its inverse have the same similarity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from acreg.optimisation.subject import Samples

BINS = 32
"""Bins between the darkest and the brightest value of an image."""
COLUMNS = BINS + 3
"""With those beyond both ends that the B-splines reach."""
STEPS = {2: 1.32471795724474602596, 3: 1.22074408460575947536}
"""The real root of x^(rank + 1) = x + 1, whose inverse powers step through a box most evenly (Roberts, 2018)."""


class Similarity:
    """Normalised mutual information minus 1, in [0, 1], of two images at one resolution.

    Args:
        fixed, moving: the images.
        centres: a point of each image, mm. Maps are given from the one to the other.
        points: samples of each image.
        seed: chooses the samples.
    """

    def __init__(
        self, fixed: Samples, moving: Samples, centres: tuple[np.ndarray, np.ndarray], points: int, seed: int
    ) -> None:
        self.centres = centres
        self.forward = _OneWay(fixed, moving, centres[0], points, seed)
        self.backward = _OneWay(moving, fixed, centres[1], points, seed)

    def coarser(self, points: int) -> Similarity:
        """The same with the first `points` samples of each image."""
        part: Similarity = object.__new__(Similarity)
        part.centres = self.centres
        part.forward, part.backward = self.forward.first(points), self.backward.first(points)
        return part

    def __call__(self, matrix: np.ndarray) -> tuple[float, np.ndarray]:
        """The similarity under a map, and its derivatives by the elements of the map but for its last row.

        Args:
            matrix: `(rank + 1, rank + 1)` homogeneous, from `fixed - centres[0]` to `moving - centres[1]`, mm.
        """
        inverse = np.linalg.inv(matrix)
        value, gradient = self.forward(_shifted(matrix, self.centres[1]))
        back, slopes = self.backward(_shifted(inverse, self.centres[0]))
        # d(M^-1) = -M^-1 dM M^-1
        slopes = -inverse[:-1].T @ slopes @ inverse.T
        return (value + back) / 2, (gradient + slopes[:-1]) / 2

    def overlap(self, matrix: np.ndarray) -> float:
        """The share of samples that meet the other image, of that image of which more do."""
        forward = self.forward.met(_shifted(matrix, self.centres[1]))
        return max(forward, self.backward.met(_shifted(np.linalg.inv(matrix), self.centres[0])))


class _OneWay:
    """The joint histogram of samples of one image with the values of another where a map takes them."""

    def __init__(self, own: Samples, other: Samples, centre: np.ndarray, points: int, seed: int) -> None:
        rank = own.grid.rank
        first = np.random.default_rng(seed).random(rank)
        places = (first + np.arange(1, points + 1)[:, None] * STEPS[rank] ** -np.arange(1.0, rank + 1)) % 1
        indices = places * own.grid.shape - 0.5
        values, _, shares, _ = own(np.ascontiguousarray(indices.T, np.float32))
        if shares is not None:
            counted = shares >= 0.5
            indices, values = indices[counted], values[counted]
        world = own.grid.to_world(indices) - centre
        self.other = other
        self.points = np.concatenate([world.T, np.ones((1, len(world)))]).astype(np.float32)
        self.rows = np.minimum((values * BINS).astype(np.int64), BINS - 1) * COLUMNS

    def first(self, points: int) -> _OneWay:
        part: _OneWay = object.__new__(_OneWay)
        part.other, part.points, part.rows = self.other, self.points[:, :points], self.rows[:points]
        return part

    def met(self, matrix: np.ndarray) -> float:
        """The share of the samples that lie in the other image's extent, and count there."""
        indices = (self.other.to_index @ matrix)[:-1] @ self.points
        within = self.other.grid.contains(indices.T)
        _, _, shares, _ = self.other(indices.astype(np.float32))
        return float((within if shares is None else within * shares).mean()) if within.size else 0.0

    def __call__(self, matrix: np.ndarray) -> tuple[float, np.ndarray]:
        to_index = (self.other.to_index @ matrix)[:-1].astype(np.float32)
        values, gradients, shares, share_slopes = self.other(to_index @ self.points)
        x = values * np.float32(BINS - 1)
        lower = np.minimum(x.astype(np.int64), BINS - 2)
        weights, slopes = _cubic_spline(x - lower.astype(np.float32))
        cells = self.rows + lower + np.arange(4)[:, None]
        counted = weights if shares is None else weights * shares
        joint = np.bincount(cells.ravel(), counted.ravel(), BINS * COLUMNS).reshape(BINS, COLUMNS)
        total = float(joint.sum())
        if total <= 0:
            return 0.0, np.zeros((len(matrix) - 1, len(matrix)))
        similarity, by_share = _normalised(joint / total)
        looked_up = by_share.astype(np.float32).ravel().take(cells)
        by_value = (slopes * looked_up).sum(axis=0) * np.float32((BINS - 1) / total)
        if shares is None or share_slopes is None:
            by_index = gradients * by_value
        else:
            by_share_of = (weights * looked_up).sum(axis=0) - np.float32((joint * by_share).sum() / total)
            by_index = gradients * (by_value * shares) + share_slopes * (by_share_of / np.float32(total))
        return similarity, self.other.to_index[:-1, :-1].T @ (by_index @ self.points.T).astype(float)


def _normalised(joint: np.ndarray) -> tuple[float, np.ndarray]:
    """(H(a) + H(b)) / H(a, b) - 1 of a joint distribution, and its derivatives up to a constant."""
    log_joint, log_a, log_b = (
        np.log(np.maximum(p, 1e-12)) for p in (joint, joint.sum(axis=1, keepdims=True), joint.sum(axis=0))
    )
    both = -float((joint * log_joint).sum())
    apart = -float((joint * (log_a + log_b)).sum())
    if both <= 1e-9:
        return 0.0, np.zeros_like(joint)
    return apart / both - 1, (apart / both * log_joint - log_a - log_b) / both


def _cubic_spline(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights `(4, n)` of the four nearest bins at a fraction `t` above the second one, and their derivatives."""
    weights, slopes = np.empty((4, t.size), np.float32), np.empty((4, t.size), np.float32)
    square, rest = t * t, 1 - t
    weights[0] = rest * rest * rest / 6
    weights[3] = square * t / 6
    weights[1] = weights[3] * 3 - square + np.float32(2 / 3)
    weights[2] = 1 - weights[0] - weights[1] - weights[3]
    slopes[0] = -rest * rest / 2
    slopes[3] = square / 2
    slopes[1] = slopes[3] * 3 - 2 * t
    slopes[2] = -slopes[0] - slopes[1] - slopes[3]
    return weights, slopes


def _shifted(matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    shifted = matrix.copy()
    shifted[:-1, -1] += shift
    return shifted
