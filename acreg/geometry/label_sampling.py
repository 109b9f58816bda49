"""Interpolation of labels between the voxels of a label map."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import ndimage

TIE = 1e-6


class NearestLabel:
    """The label of the voxel whose centre is nearest to each of the points `(rank, n)`."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(self.labels, points, order=0, mode="nearest")


class LargestLabel:
    """The label with the largest linear weight among the corners around each of the points `(rank, n)`.

    For most points, all corners have the same label, which a table of the cells of the label map shows; weights are
    computed only for the other points, one label at a time.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        padded = np.pad(labels, [(0, 1)] * labels.ndim, mode="edge")
        self.differs = np.zeros(labels.shape, bool)
        for corner in itertools.product((0, 1), repeat=labels.ndim):
            moved = tuple(slice(up, up + n) for up, n in zip(corner, labels.shape, strict=True))
            self.differs |= padded[moved] != labels

    def __call__(self, points: np.ndarray) -> np.ndarray:
        clipped = [np.clip(p, 0, n - 1) for p, n in zip(points, self.labels.shape, strict=True)]
        low = tuple(p.astype(np.intp) for p in clipped)
        result = self.labels[low]
        border = np.flatnonzero(self.differs[low])
        if border.size:
            fractions = [p[border] - q[border] for p, q in zip(clipped, low, strict=True)]
            result[border] = self._weighed([q[border] for q in low], fractions)
        return result

    def _weighed(self, low: list[np.ndarray], fractions: list[np.ndarray]) -> np.ndarray:
        """The label with the largest sum of weights, the lower one in a tie."""
        around = []
        for corner in itertools.product((0, 1), repeat=len(low)):
            index = (np.minimum(q + up, n - 1) for q, up, n in zip(low, corner, self.labels.shape, strict=True))
            weights = (f if up else 1.0 - f for f, up in zip(fractions, corner, strict=True))
            around.append((self.labels[tuple(index)], math.prod(weights)))
        best = np.full(low[0].size, -1.0)
        winner = np.empty(low[0].size, self.labels.dtype)
        for value in np.unique(np.stack([found for found, _ in around])):
            score = np.zeros(best.size)
            for found, weight in around:
                score += np.where(found == value, weight, 0.0)
            wins = score > best + TIE
            winner[wins] = value
            best[wins] = score[wins]
        return winner
