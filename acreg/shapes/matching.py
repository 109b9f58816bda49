"""Matching of the surfaces of a template to those of a subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from acreg.errors import UsageError
from acreg.shapes.surfaces import Surface

MATCHERS = ("currents", "point-drift")


class Matcher(Protocol):
    """Finds the positions of the points of a template's surfaces on the surfaces of a subject."""

    def match(self, template: Sequence[Surface], subject: Sequence[Surface]) -> list[np.ndarray]:
        """The template's points moved onto the subject, an array `(n, rank)` in mm for each surface.

        The surfaces belong to the same regions, in the same order; both subjects are roughly aligned.
        """
        ...


def matcher(name: str) -> Matcher:
    """A matcher with its default settings, by its name in `MATCHERS`.

    Raises:
        UsageError: an unknown name.
    """
    if name == "point-drift":
        from acreg.shapes.point_drift import CoherentPointDrift

        return CoherentPointDrift()
    if name == "currents":
        from acreg.shapes.currents import Currents  # imports Keras

        return Currents()
    raise UsageError(f"A matcher of surfaces is one of {', '.join(MATCHERS)}. Received: {name!r}.")


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
