"""The coordinate frame in which surfaces are matched."""

from __future__ import annotations

import numpy as np


class Frame:
    """Coordinates in which the template has its middle at 0 and a spread of 1, and a subject lies over it.

    Args:
        template: points `(n, rank)`.
        subject: points `(m, rank)`: shifted and scaled onto the template's.
    """

    def __init__(self, template: np.ndarray, subject: np.ndarray) -> None:
        self._centres = template.mean(axis=0), subject.mean(axis=0)
        self._scales = tuple(
            float(np.sqrt(((points - centre) ** 2).sum(axis=1).mean()))
            for points, centre in zip((template, subject), self._centres, strict=True)
        )

    def of_template(self, points: np.ndarray) -> np.ndarray:
        """Points of the template in the frame."""
        return (points - self._centres[0]) / self._scales[0]

    def of_subject(self, points: np.ndarray) -> np.ndarray:
        """Points of the subject in the frame."""
        return (points - self._centres[1]) / self._scales[1]

    def to_subject(self, points: np.ndarray) -> np.ndarray:
        """Points of the frame in mm, where the subject is."""
        return points * self._scales[1] + self._centres[1]
