"""Matching of the surfaces of a template to those of a subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from acreg.errors import UsageError
from acreg.shapes.point_drift import CoherentPointDrift
from acreg.shapes.surfaces import Surface

MATCHERS = ("currents", "point-drift")
"""The names that `matcher` accepts."""


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
        UsageError: the name is unknown.
    """
    if name == "point-drift":
        return CoherentPointDrift()
    if name == "currents":
        from acreg.shapes.currents import Currents  # imported here: it needs Keras, which the other matcher does not

        return Currents()
    raise UsageError(f"A matcher of surfaces is one of {', '.join(MATCHERS)}. Received: {name!r}.")
