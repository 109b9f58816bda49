"""Coherent point drift: surfaces matched as clouds of points, fast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg, spatial

from acreg.shapes.frame import Frame
from acreg.shapes.surfaces import Surface


class CoherentPointDrift:
    """The template's points as the centres of Gaussians that drift together towards the subject's points.

    A point is explained by points of its own region alone.

    Args:
        width: of the Gaussian by which neighbouring points move alike, in units of the template's spread (the root
            mean square distance of its points from their middle).
        stiffness: weight of the smoothness. With a small one the points come nearer to the subject's surfaces, but have
            slid along them, so that what lies between folds.
        outliers: share of the subject's points that nothing explains.
        iterations: at most.

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
