"""Progress reports of long computations."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Any, TypeVar

Item = TypeVar("Item")

Progress = Callable[[str, int, int], None]
"""Called with (text, done, total): the current work, the number of finished pieces, and the number of all pieces.

The text is constant during one piece of work; after ": " it may continue with a changing value, such as a loss.
"""

INTERVAL = 0.5
"""Seconds between two updates in a notebook, at least: its page gets slow otherwise."""


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


def in_kernel() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def below_kernel() -> bool:
    """Whether a kernel started this process, as a cell with ``!acreg`` does.

    Its output is a terminal, but the notebook keeps every redrawn line.
    """
    return "JPY_PARENT_PID" in os.environ or "inline" in os.environ.get("MPLBACKEND", "")


def notebook_bars() -> NotebookBars | None:
    """Progress bars in the output of the cell that runs; None outside of a notebook."""
    return NotebookBars() if in_kernel() else None


class NotebookBars:
    """Progress bars in a notebook: one output, which is updated and stays. An instance is a `Progress`.

    Each new text has a bar of its own; the part of a text after ": " is shown behind the bar.

    Attributes:
        picture: HTML that is shown below the bars.
    """

    def __init__(self) -> None:
        self.picture = ""
        self._bars: dict[str, _Bar] = {}
        self._lines: list[str] = []
        self._output: Any = None
        self._shown = -math.inf

    def __call__(self, text: str, done: int, total: int) -> None:
        name, _, details = text.partition(": ")
        now = time.monotonic()
        bar = self._bars.setdefault(name, _Bar(max(done - 1, 0), now))
        bar.done, bar.total, bar.details, bar.now = done, total, details, now
        if done >= total or now - self._shown >= INTERVAL:
            self.show()

    def say(self, text: str) -> None:
        """Add a message below the bars."""
        self._lines.append(text)
        self.show()

    def show(self) -> None:
        """Show the present state."""
        from IPython.display import display

        self._shown = time.monotonic()
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{bar.html()}</td>"
            f"<td style='text-align:left'>{escape(bar.text())}</td></tr>"
            for name, bar in self._bars.items()
        )
        lines = "<br>".join(map(escape, self._lines))
        texts = [f"{name}: {bar.text()}" for name, bar in self._bars.items()]
        data = {
            "text/plain": "\n".join([*texts, *self._lines]),
            "text/html": f"<table>{rows}</table>{self.picture}<div style='white-space:pre-wrap'>{lines}</div>",
        }
        if self._output is None:
            self._output = display(data, raw=True, display_id=True)
        else:
            self._output.update(data, raw=True)


@dataclass
class _Bar:
    """One piece of work: how far it was when it began, and is now; times in seconds."""

    before: int
    began: float
    done: int = 0
    total: int = 0
    details: str = ""
    now: float = 0.0

    def html(self) -> str:
        known = f" value='{self.done}' max='{self.total}'" if self.total else ""
        return f"<progress{known}></progress>"

    def text(self) -> str:
        """How much is done, how long it took or will take, and the details."""
        seconds = self.now - self.began
        new = self.done - self.before
        if self.done < self.total and new:
            when = f"{_clock(seconds * (self.total - self.done) / new)} left"
        else:
            when = _clock(seconds)
        return ", ".join(part for part in (f"{self.done}/{self.total or '?'}", when, self.details) if part)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
