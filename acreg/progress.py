"""Progress reports of long computations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

Progress = Callable[[str, int, int], None]
"""Called with (text, done, total): the current work, the number of finished pieces, and the number of all pieces.

The text is constant during one piece of work; after ": " it may continue with a changing value, such as a loss.
"""


def counted(items: Iterable[Item], text: str, total: int, progress: Progress | None) -> Iterator[Item]:
    """Yield the items one by one; `progress`, if given, is called after the work on each.

    Example:
        >>> for subject in counted(subjects, "Reading images", len(subjects), progress):
        ...     read(subject)
    """
    for done, item in enumerate(items, 1):
        yield item
        if progress:
            progress(text, done, total)
