"""What a check is, and how checks are run: one after the other, whatever happens to another."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import acreg

Progress = Callable[[str, int, int], None]
LONGEST = 300
"""Characters of an error that the page shows."""


@dataclass(frozen=True)
class Measured:
    """What a check found.

    Args:
        cases: how many values were compared.
        largest: the largest difference from the reference.
        detail: what lies beyond the limit, such as names of files; empty where there are no names.
    """

    cases: int
    largest: float
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """A computation of acreg that is compared with a reference.

    Args:
        section: the heading under which the page lists it.
        name: what is checked, unique among all checks.
        reference: what it is compared with.
        counted: what the cases are: "voxels", "points", "files".
        unit: of the difference; empty for a number without a unit.
        limit: the largest difference that passes.
        measure: does it.
    """

    section: str
    name: str
    reference: str
    counted: str
    unit: str
    limit: float
    measure: Callable[[], Measured]


@dataclass(frozen=True)
class Outcome:
    """A check and what it found.

    Args:
        check: the check.
        seconds: how long it took.
        measured: what was found; None where the check ended in an error.
        error: that error, in one line.
    """

    check: Check
    seconds: float
    measured: Measured | None = None
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether something was compared, and no difference exceeds the limit. NaN exceeds every limit."""
        return self.measured is not None and self.measured.cases > 0 and self.measured.largest <= self.check.limit

    @property
    def reason(self) -> str:
        """Why the check failed, in a sentence without its full stop; empty where it passed."""
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
    """Run checks in their order. An error in one of them is its outcome and does not stop the others.

    Args:
        checks: what to run.
        progress: called with (text, done, total) after each check.
    """
    outcomes = []
    for number, check in enumerate(checks, 1):
        start = time.perf_counter()
        try:
            measured, error = check.measure(), ""
        except Exception as raised:  # a check finds out whether something works: any error is a finding
            measured, error = None, without_places(f"{type(raised).__name__}: {raised}")
        outcomes.append(Outcome(check, time.perf_counter() - start, measured, error))
        if progress:
            progress("Checking", number, len(checks))
    return outcomes


def without_places(text: str) -> str:
    """An error's text in one line of limited length, without folders of this machine, so that it can be passed on."""
    places = {Path(acreg.__file__).parent: "acreg", Path(tempfile.gettempdir()): "TEMP", Path.home(): "HOME"}
    for folder, word in places.items():
        if folder != Path(folder.anchor):
            text = text.replace(str(folder), word)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def failed(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The checks that did not pass."""
    return [outcome for outcome in outcomes if not outcome.passed]
