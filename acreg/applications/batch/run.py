"""Work on any number of images: rows appended as they are found, so that a killed run goes on where it stopped.

A run's folder holds ``run.json``, the settings that decide the results; a CSV with one row for each image that is done;
``failures.csv``, one row with the reason for each that could not be; and the files that the work writes, each complete
before its row. Rows are in the order of the images.
"""

from __future__ import annotations

import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from acreg.applications.batch.items import Item
from acreg.errors import AcregError
from acreg.io import sole_writer
from acreg.io.claims import check_claim, claim
from acreg.io.csv_tables import read_table, write_rows
from acreg.progress import Progress

FAILURES, RUN = "failures.csv", "run.json"
AHEAD = 2
"""Groups of images that are read while one is worked on."""
READERS = 2


class Worker(Protocol):
    """What works on images, with its model loaded."""

    def read(self, item: Item) -> Any:
        """Read what the work on an item needs; called from several threads."""
        ...

    def compute(self, items: Sequence[Item], contents: Sequence[Any]) -> list[Any]:
        """The results of some items, without writing anything."""
        ...

    def save(self, item: Item, result: Any) -> list[str]:
        """Write an item's files and return its row."""
        ...


class Task(Protocol):
    """What is done to each image; small and without a model, so that it can be sent to other machines."""

    @property
    def table(self) -> str:
        """The CSV's name."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns, the item's name first."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides the results."""
        ...

    def load(self) -> Worker:
        """A worker, its model loaded."""
        ...


@dataclass(frozen=True)
class Outcome:
    """The row of an item that is done, or the reason why there is none."""

    name: str
    row: list[str] | None = None
    failure: str = ""


Engine = Callable[[Task, Iterable[Sequence[Item]]], Iterator[list[Outcome]]]
"""Works on groups of items, which it takes once outcomes are asked for, and yields those of each, in their order."""


@dataclass(frozen=True)
class Tally:
    """How many images a run was asked for, were there already, are done now, and failed; and why the first failed."""

    images: int
    before: int
    done: int
    failed: int
    reason: str = field(default="", compare=False)


def run(
    task: Task,
    items: Sequence[Item],
    folder: Path,
    engine: Engine,
    group: int = 8,
    progress: Progress | None = None,
) -> Tally:
    """Work on all items that are not done yet.

    Args:
        task: what is done.
        items: all of them; those with a row in the folder's table are left out. Failed ones are tried again.
        folder: of the results, perhaps of a run that was killed.
        engine: `local`, or that of `acreg.applications.batch.ray_engine`.
        group: items that are worked on, and entered in the table, together.
        progress: called with (text, done, total) after each group; the text has the number of failures.

    Raises:
        UsageError: the folder holds a run with other settings, or other files.
        AcregError: another process writes into it.
    """
    done: set[str] = set()
    groups = [items[n : n + group] for n in range(0, len(items), group)]
    left = (kept for each in groups if (kept := [item for item in each if item.name not in done]))
    settings = json.loads(json.dumps({"table": task.table, **task.settings}))
    check_claim(folder, RUN, settings)
    found = engine(task, left)  # a model or atlases that cannot be loaded leave no folder behind
    with sole_writer(folder):
        claim(folder, RUN, settings)
        done |= _rows_there(folder / task.table, task.columns)
        before = sum(item.name in done for item in items)
        tried = failed = 0
        reason = ""
        _append(folder / FAILURES, [("subject", "reason")], "w")
        for outcomes in found:
            _append(folder / FAILURES, [(each.name, each.failure) for each in outcomes if each.row is None])
            _append(folder / task.table, [each.row for each in outcomes if each.row is not None])
            tried += len(outcomes)
            failed += sum(each.row is None for each in outcomes)
            reason = reason or next((f"{each.name}: {each.failure}" for each in outcomes if each.row is None), "")
            if progress:
                progress(f"{task.table}: {failed} failed", before + tried, len(items))
    return Tally(len(items), before, tried - failed, failed, reason)


def local(task: Task, groups: Iterable[Sequence[Item]]) -> Iterator[list[Outcome]]:
    """Work in this process, the next images read meanwhile by threads. What `Task.load` raises is raised at once."""
    return _outcomes(task.load(), groups)


def _outcomes(worker: Worker, groups: Iterable[Sequence[Item]]) -> Iterator[list[Outcome]]:
    with ThreadPoolExecutor(READERS) as pool:
        ahead: deque[tuple[Sequence[Item], list[Future[Any]]]] = deque()
        try:
            for items in groups:
                ahead.append((items, [pool.submit(worker.read, item) for item in items]))
                if len(ahead) > AHEAD:
                    yield work(worker, *ahead.popleft())
            while ahead:
                yield work(worker, *ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def work(worker: Worker, items: Sequence[Item], contents: Sequence[Future[Any]]) -> list[Outcome]:
    """The outcomes of a group: whatever reading or computing raises is the failure of its item alone."""
    failures: dict[str, str] = {}
    there: list[tuple[Item, Any]] = []
    for item, content in zip(items, contents, strict=True):
        try:
            there.append((item, content.result()))
        except Exception as error:
            failures[item.name] = _reason(error)
    results: dict[str, Any] = {}
    try:
        found = worker.compute(*zip(*there)) if there else []
        results = {item.name: result for (item, _), result in zip(there, found, strict=True)}
    except Exception:  # one of them: which?
        for item, read in there:
            try:
                results[item.name] = worker.compute([item], [read])[0]
            except Exception as error:
                failures[item.name] = _reason(error)
    return [
        Outcome(item.name, worker.save(item, results[item.name]))
        if item.name in results
        else Outcome(item.name, failure=failures[item.name])
        for item in items
    ]


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, AcregError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _rows_there(path: Path, columns: Sequence[str]) -> set[str]:
    """The names of a table's rows, the table begun; a row that was cut off, when its writer was killed, is removed."""
    content = path.read_bytes() if path.is_file() else b""
    complete = content.rfind(b"\n") + 1
    if complete < len(content):
        os.truncate(path, complete)
    rows = read_table(io.StringIO(content[:complete].decode("utf-8", "surrogateescape"), newline=""))
    if not rows:
        _append(path, [columns])
    elif rows[0] != list(columns):
        raise AcregError(
            f"A run goes on with the table that it began. Received: {path} with the columns {', '.join(rows[0])}, not "
            f"{', '.join(columns)}. Choose another --out."
        )
    return {row[0] for row in rows[1:]}


def _append(path: Path, rows: Sequence[Sequence[str]], mode: str = "a") -> None:
    """Append rows by one write, on the disk when this returns: a kill leaves whole rows, or a last one cut off."""
    text = io.StringIO()
    write_rows(text, rows)
    with path.open(mode, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(text.getvalue())
        stream.flush()
        os.fsync(stream.fileno())
