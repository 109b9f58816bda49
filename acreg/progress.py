"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

Progress = Callable[[str, int, int], None]
"""Called with (text, done, total): what is done, how many pieces are done, and of how many.

The text names one piece of work while it goes on; after ": " may follow what changes meanwhile, such as a loss.
"""


def counted(items: Iterable[Item], text: str, total: int, progress: Progress | None) -> Iterator[Item]:
    """The items one by one; `progress`, if there is one, is called after the work on each.

    Example:
        >>> for subject in counted(subjects, "Reading images", len(subjects), progress):
        ...     read(subject)
    """
    for done, item in enumerate(items, 1):
        yield item
        if progress:
            progress(text, done, total)
