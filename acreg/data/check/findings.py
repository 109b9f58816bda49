"""The results of a dataset check: findings with remedies, and notes on what could not be judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from acreg.names import some

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """A problem: an ``error`` stops or falsifies training or evaluation; a ``warning`` may be intended.

    ``where`` names a subject (or a split, a group, a file), or the first five if there are several; ``places`` has all
    of them.
    """

    level: Level
    where: str
    what: str
    remedy: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.what}. {self.remedy}."


class Findings:
    """Collects findings; findings with the same text about several subjects become one."""

    def __init__(self) -> None:
        self._places: dict[tuple[Level, str, str, tuple[str, ...] | None], list[str]] = {}
        self.notes: list[str] = []

    def add(self, level: Level, where: str | Sequence[str], what: str, remedy: str) -> None:
        """Add a finding on one place, or on several that belong together and are not merged with others."""
        together = None if isinstance(where, str) else tuple(where)
        key = (level, what, remedy, together)
        self._places.setdefault(key, []).extend([where] if isinstance(where, str) else where)

    def listed(self) -> list[Finding]:
        """All findings, errors first, otherwise in the order in which they were added."""
        found = [
            Finding(level, some(places), what, remedy, tuple(places))
            for (level, what, remedy, _), places in self._places.items()
        ]
        return sorted(found, key=lambda finding: finding.level)


def span(values: Iterable[float], form: str) -> str:
    """The range of some numbers in words: "3 to 5", or "3" if all are written the same."""
    ordered = sorted(values)
    low, high = format(ordered[0], form), format(ordered[-1], form)
    return low if low == high else f"{low} to {high}"
