"""What commands print: results to stdout; notes and progress bars to stderr, which ``--quiet`` turns off."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from acreg.errors import DoubtfulResult
from acreg.names import one_line, printable
from acreg.progress import Progress, below_kernel

OLD_NAME = ".* is now .*; the old name goes"
"""What warnings of old names match; see `acreg._moved`."""

_quiet = False
_held: ExitStack | None = None


def set_quiet(quiet: bool) -> None:
    """Turn notes and progress bars off (or on again) for this process."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether ``--quiet`` was given."""
    return _quiet


def shows_progress() -> bool:
    """Whether progress bars are drawn: without ``--quiet``, and with stderr on a terminal that is no notebook."""
    return not _quiet and sys.stderr.isatty() and not below_kernel()


def out(text: str = "") -> None:
    """Print a result to stdout, also with ``--quiet``."""
    print(printable(text), flush=True)


def note(text: str) -> None:
    """Print a remark on the progress of the work to stderr; silent with ``--quiet``."""
    if not _quiet:
        print(printable(text), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print to stderr that a result is doubtful, also with ``--quiet``."""
    print(f"Warning: {one_line(text)}", file=sys.stderr, flush=True)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show acreg's own warnings as `warn` does, without the source line that raised them.

    These are every `UserWarning`, and the `DeprecationWarning` of an old name, which Python hides by default.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("default", OLD_NAME, DeprecationWarning)
        show = warnings.showwarning

        def plain(message: Warning | str, category: type[Warning], *where: Any, **further: Any) -> None:
            if category is UserWarning or re.match(OLD_NAME, str(message)):
                warn(str(message))
            elif category is not DoubtfulResult:  # a command prints them last, after its results
                show(message, category, *where, **further)

        warnings.showwarning = plain
        yield


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to stdout, the first column left-aligned and the others right-aligned.

    It is drawn with lines on a terminal and is plain text elsewhere, so that a pipe or a log file stays readable.
    """
    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    columns = [one_line(column) for column in columns]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(title=Text(one_line(title)))
        for index, column in enumerate(columns):
            drawn.add_column(Text(column), justify="right" if index else "left")
        for row in cells:
            drawn.add_row(*map(Text, row))
        Console().print(drawn)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells)]
    out(title)
    for row in [list(columns), ["-" * width for width in widths], *cells]:
        first, *rest = (
            cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(zip(row, widths))
        )
        out("  ".join([first, *rest]).rstrip())


@contextmanager
def bars() -> Iterator[Progress | None]:
    """Progress bars on stderr for library code that calls back with (text, done, total): a new bar for each new text.

    The part of a text after ": " is shown after the bar. Pieces that an earlier run completed before the first call
    count neither in the bar nor towards its speed. Yields None where nothing is drawn: with ``--quiet``, or when stderr
    is not a terminal.
    """
    if not shows_progress():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with ExitStack() as stack:
        bar, before, title = Bar(), 0, ""

        def show(text: str, done: int, total: int) -> None:
            nonlocal bar, before, title
            name, _, details = text.partition(": ")
            if not bar.task_ids or name != title:
                stack.close()
                bar = stack.enter_context(Bar(*columns, console=Console(stderr=True)))
                bar.add_task(one_line(name), total=None, text="")
                title, before = name, max(done - 1, 0)
            bar.update(bar.task_ids[0], completed=done - before, total=total - before, text=one_line(details))

        yield show


@contextmanager
def holding() -> Iterator[None]:
    """The duration of a command; at its end, the folders that the command holds are released."""
    global _held
    try:
        with ExitStack() as _held:
            yield
    finally:
        _held = None


def hold(folder: Path) -> None:
    """Prevent other processes from writing into a folder until the command ends; see `acreg.io.sole_writer`."""
    from acreg.io import sole_writer

    if _held is not None:  # else its function was called by other code
        _held.enter_context(sole_writer(folder))
