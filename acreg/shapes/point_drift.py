"""Coherent point drift: fast matching of surfaces as point clouds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg, spatial

from acreg.shapes.frame import Frame
from acreg.shapes.surfaces import Surface


class CoherentPointDrift:
    """Treats the template's points as centres of Gaussians that move coherently towards the subject's points.

    A point is only matched to points of its own region.

    Args:
        width: width of the Gaussian that makes neighbouring points move alike, in units of the template's spread (the
            root mean square distance of its points from their mean).
        stiffness: weight of the smoothness. With a small weight, the points come closer to the subject's surfaces, but
            slide along them, so that the space between surfaces folds.
        outliers: share of the subject's points that are outliers.
        iterations: maximum number of iterations.

    Source: Myronenko and Song, Point set registration: coherent point drift, IEEE TPAMI 32 (2010), section 5.
    """

    def __init__(
        self, width: float = 0.6, stiffness: float = 100.0, outliers: float = 0.02, iterations: int = 80
    ) -> None:
        self.width = width
        self.stiffness = stiffness
        self.outliers = outliers
        self.iterations = iterations

    def match(self, template: Sequence[Surface], subject: Sequence[Surface]) -> list[np.ndarray]:
        """See `Matcher.match`."""
        ends = np.cumsum([len(surface.points) for surface in template])[:-1]
        start, goal = (np.concatenate([surface.points for surface in each]) for each in (template, subject))
        frame = Frame(start, goal)
        start, goal = frame.of_template(start), frame.of_subject(goal)
        regions = [
            np.repeat(range(len(each)), [len(surface.points) for surface in each]) for each in (template, subject)
        ]
        same = regions[0][:, None] == regions[1]
        smooth = np.exp(-spatial.distance.cdist(start, start, "sqeuclidean") / (2 * self.width**2))
        rank, moved = start.shape[1], start
        variance = float(spatial.distance.cdist(start, goal, "sqeuclidean")[same].mean()) / rank
        for _ in range(self.iterations):
            squared = spatial.distance.cdist(moved, goal, "sqeuclidean")
            share = np.where(same, np.exp(-squared / (2 * variance)), 0.0)
            chance = (2 * np.pi * variance) ** (rank / 2) * self.outliers / (1 - self.outliers)
            share /= share.sum(axis=0) + chance * same.sum(axis=0) / len(goal) + np.finfo(float).tiny
            weight = share.sum(axis=1)
            system = weight[:, None] * smooth
            system[np.diag_indices_from(system)] += self.stiffness * variance
            moved = start + smooth @ linalg.solve(system, share @ goal - weight[:, None] * start, check_finite=False)
            before = variance
            variance = float((share * spatial.distance.cdist(moved, goal, "sqeuclidean")).sum() / (weight.sum() * rank))
            variance = max(variance, 1e-8)
            if abs(before - variance) < 1e-3 * before:
                break
        return np.split(frame.to_subject(moved), ends)
