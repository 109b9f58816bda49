"""What a check of a dataset says: findings with remedies, and notes on what could not be judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from acreg.names import some

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something wrong: an ``error`` stops training or evaluation or falsifies it, a ``warning`` may be meant.

    ``where`` names a subject (or a split, a group, a file), of several the first five; ``places`` has them all.
    """

    level: Level
    where: str
    what: str
    remedy: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.what}. {self.remedy}."


class Findings:
    """Collects findings; the same words about several subjects become one finding."""

    def __init__(self) -> None:
        self._places: dict[tuple[Level, str, str, tuple[str, ...] | None], list[str]] = {}
        self.notes: list[str] = []

    def add(self, level: Level, where: str | Sequence[str], what: str, remedy: str) -> None:
        """Add a finding on one place, or on several that belong together and are not joined with others."""
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
    """The range of some numbers in words: "3 to 5", or "3" where all are written alike."""
    ordered = sorted(values)
    low, high = format(ordered[0], form), format(ordered[-1], form)
    return low if low == high else f"{low} to {high}"
