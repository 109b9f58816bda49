"""Definition of a check, and a function that runs checks one after the other, even if some fail."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

import acreg
from acreg.progress import Progress, counted

LONGEST = 300
"""Largest number of characters of an error on the page."""


@dataclass(frozen=True)
class Measured:
    """The result of a check.

    Args:
        cases: number of values that were compared.
        largest: the largest difference from the reference.
        detail: names of what lies beyond the limit, such as files; empty if there are no names.
    """

    cases: int
    largest: float
    detail: str = ""


def compare(found: ArrayLike, expected: ArrayLike) -> Measured:
    """The largest absolute difference of two arrays of the same shape; NaN if any value is NaN.

    Raises:
        ValueError: the shapes differ.
    """
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    if found.shape != expected.shape:
        raise ValueError(f"the result has the shape {found.shape}, the reference {expected.shape}")
    return Measured(found.size, float(np.abs(found - expected).max(initial=0.0)))


def distance(found: ArrayLike, expected: ArrayLike) -> Measured:
    """The largest distance of points `(..., rank)` from their expected positions. Errors: as for `compare`."""
    compare(found, expected)
    apart = np.linalg.norm(np.subtract(found, expected), axis=-1)
    return compare(apart, np.zeros(apart.shape))


def together(parts: Iterable[Measured]) -> Measured:
    """Combine the results of several parts: the sum of the cases, and the largest difference."""
    parts = list(parts)
    return Measured(sum(part.cases for part in parts), float(np.max([part.largest for part in parts])))  # keeps a NaN


@dataclass(frozen=True)
class Check:
    """A computation of acreg that is compared with a reference.

    Args:
        section: the heading under which the page lists it.
        name: what is checked, unique among all checks.
        reference: what it is compared with.
        counted: what the cases are: "voxels", "points", "files".
        unit: unit of the difference; empty for a number without a unit.
        limit: the largest difference that passes.
        measure: function that performs the check.
    """

    section: str
    name: str
    reference: str
    counted: str
    unit: str
    limit: float
    measure: Callable[[], Measured]


Row = tuple[str, str, str, str, str, float, Callable[[int], Measured]]
"""A check that is done in 2-D and 3-D: the arguments of `Check`, with a measure that takes the number of axes."""


def in_each_rank(rows: Iterable[Row], ranks: Sequence[int] = (2, 3)) -> list[Check]:
    """The checks of the rows, each repeated for every number of axes."""
    return [
        Check(section, f"{name}, {rank}-D", reference, counted, unit, limit, partial(measure, rank))
        for section, name, reference, counted, unit, limit, measure in rows
        for rank in ranks
    ]


@dataclass(frozen=True)
class Outcome:
    """A check and its result.

    Args:
        check: the check.
        seconds: how long it took.
        measured: the result; None if the check ended in an error.
        error: that error, in one line.
    """

    check: Check
    seconds: float
    measured: Measured | None = None
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether something was compared and no difference exceeds the limit. NaN exceeds every limit."""
        return self.measured is not None and self.measured.cases > 0 and self.measured.largest <= self.check.limit

    @property
    def reason(self) -> str:
        """Why the check failed, as a sentence without its full stop; empty if it passed."""
        if self.passed:
            return ""
        if self.measured is None:
            return self.error
        if self.measured.cases == 0:
            return "nothing was compared"
        unit = f" {self.check.unit}" if self.check.unit else ""
        detail = f" ({self.measured.detail})" if self.measured.detail else ""
        return f"the largest difference is {self.measured.largest:.2g}{unit}, the limit {self.check.limit:g}{detail}"


def run_checks(checks: Sequence[Check], progress: Progress | None = None) -> list[Outcome]:
    """Run checks in their order. An error in one of them becomes its outcome and does not stop the others.

    Args:
        checks: the checks to run.
        progress: called with (text, done, total) after each check.
    """
    outcomes = []
    for check in counted(checks, "Checking", len(checks), progress):
        start = time.perf_counter()
        try:
            measured, error = check.measure(), ""
        except Exception as raised:  # a check finds out whether something works: any error is a finding
            measured, error = None, without_places(f"{type(raised).__name__}: {raised}")
        outcomes.append(Outcome(check, time.perf_counter() - start, measured, error))
    return outcomes


def without_places(text: str) -> str:
    """An error's text in one line of limited length, without folders of this machine, so that it can be shared."""
    places = {
        os.path.dirname(acreg.__file__): "acreg",
        tempfile.gettempdir(): "TEMP",
        sys.prefix: "PYTHON",
        os.path.expanduser("~"): "HOME",  # returns the path unchanged if the user's home is unknown
    }
    for folder, word in places.items():
        if os.path.isabs(folder) and os.path.dirname(folder) != folder:
            text = text.replace(folder, word)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def by_section(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes by their sections, in their order."""
    sections: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        sections.setdefault(outcome.check.section, []).append(outcome)
    return sections


def failed(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The checks that did not pass."""
    return [outcome for outcome in outcomes if not outcome.passed]
