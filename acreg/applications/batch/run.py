"""Processing of any number of images or pairs: each row is appended at once, so that a killed run can be continued.

A run's folder holds ``run.json``, with the settings that determine the results; a CSV with one row for each image that
is done; ``failures.csv``, with one row for each image that failed and the reason; and the result files, each of which
is complete before its row is written. Rows are in the order of the images.
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

from acreg.applications.batch.items import Item, PairItem
from acreg.errors import AcregError, UsageError
from acreg.io import sole_writer
from acreg.io.claims import check_claim, claim
from acreg.io.csv_tables import read_table, write_rows
from acreg.names import some
from acreg.progress import Progress

FAILURES, RUN = "failures.csv", "run.json"
AHEAD = 2
"""Groups of images that are read ahead while one is processed."""
READERS = 2

AnyItem = Item | PairItem


class Worker(Protocol):
    """Processes images, with its model loaded."""

    def read(self, item: Any) -> Any:
        """Read the files that the processing of an item needs; called from several threads."""
        ...

    def compute(self, items: Sequence[Any], contents: Sequence[Any]) -> list[Any]:
        """The results of some items, without writing anything."""
        ...

    def save(self, item: Any, result: Any) -> list[str]:
        """Write an item's files and return its row."""
        ...


class Task(Protocol):
    """Describes what is done to each image; small and without a model, so that it can be sent to other machines."""

    @property
    def table(self) -> str:
        """Name of the CSV."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the CSV, the item's name first."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of the columns that name the files of an item, as its attributes do."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that determine the results."""
        ...

    def load(self) -> Worker:
        """A worker with its model loaded."""
        ...


@dataclass(frozen=True)
class Outcome:
    """The row of an item that is done, or the reason why it failed."""

    name: str
    row: list[str] | None = None
    failure: str = ""


Engine = Callable[[Task, Iterable[Sequence[AnyItem]]], Iterator[list[Outcome]]]
"""Processes groups of items, which it takes lazily, and yields the outcomes of each group, in their order."""


@dataclass(frozen=True)
class Tally:
    """Numbers of images: requested, done before, done now and failed; and the reason why the first one failed."""

    images: int
    before: int
    done: int
    failed: int
    reason: str = field(default="", compare=False)


def run(
    task: Task,
    items: Sequence[AnyItem],
    folder: Path,
    engine: Engine,
    group: int = 8,
    progress: Progress | None = None,
) -> Tally:
    """Process all items that are not done yet.

    Args:
        task: what is done to each item.
        items: all items; those with a row in the folder's table are skipped. Failed ones are tried again.
        folder: folder of the results, possibly of a run that was killed.
        engine: `local`, or that of `acreg.applications.batch.ray_engine`.
        group: number of items that are processed, and entered in the table, together.
        progress: called with (text, done, total) after each group; the text has the number of failures.

    Raises:
        UsageError: the folder holds a run with other settings, or of other files for an item that is done; or other
            files.
        AcregError: another process is writing into it.
    """
    done: dict[str, dict[str, str]] = {}
    groups = [items[n : n + group] for n in range(0, len(items), group)]
    left = (kept for each in groups if (kept := [item for item in each if item.name not in done]))
    settings = json.loads(json.dumps({"table": task.table, **task.settings}))
    check_claim(folder, RUN, settings)
    found = engine(task, left)  # a model or atlases that cannot be loaded leave no folder behind
    with sole_writer(folder):
        claim(folder, RUN, settings)
        done |= _rows_there(folder / task.table, task.columns)
        _check_inputs(task, items, done, folder)
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


def local(task: Task, groups: Iterable[Sequence[AnyItem]]) -> Iterator[list[Outcome]]:
    """Process the groups here, while threads read the next images. Errors of `Task.load` are raised immediately."""
    return _outcomes(task.load(), groups)


def _outcomes(worker: Worker, groups: Iterable[Sequence[AnyItem]]) -> Iterator[list[Outcome]]:
    with ThreadPoolExecutor(READERS) as pool:
        ahead: deque[tuple[Sequence[AnyItem], list[Future[Any]]]] = deque()
        try:
            for items in groups:
                ahead.append((items, [pool.submit(worker.read, item) for item in items]))
                if len(ahead) > AHEAD:
                    yield work(worker, *ahead.popleft())
            while ahead:
                yield work(worker, *ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def work(worker: Worker, items: Sequence[AnyItem], contents: Sequence[Future[Any]]) -> list[Outcome]:
    """The outcomes of a group: an error in reading or computing an item makes only that item fail."""
    failures: dict[str, str] = {}
    there: list[tuple[AnyItem, Any]] = []
    for item, content in zip(items, contents, strict=True):
        try:
            there.append((item, content.result()))
        except Exception as error:
            failures[item.name] = _reason(error)
    results: dict[str, Any] = {}
    try:
        found = worker.compute(*zip(*there)) if there else []
        results = {item.name: result for (item, _), result in zip(there, found, strict=True)}
    except Exception:  # find out which of them failed
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


def input_cells(item: AnyItem, inputs: Sequence[str]) -> list[str]:
    """The files of an item, as its row names them: absolute, or empty."""
    return ["" if (path := getattr(item, name)) is None else os.path.abspath(path) for name in inputs]


def _check_inputs(task: Task, items: Sequence[AnyItem], done: Mapping[str, Mapping[str, str]], folder: Path) -> None:
    """Raise `UsageError` if an item that is done is now one of other files."""
    known = [item for item in items if item.name in done]
    changed = [i.name for i in known if [done[i.name][c] for c in task.inputs] != input_cells(i, task.inputs)]
    if changed:
        raise UsageError(
            f"A run goes on with the files that it began with. Received: {folder}, where {some(changed)} was made of "
            f"others ({', '.join(task.inputs)} in {task.table}). Choose another --out, or rename these items."
        )


def _rows_there(path: Path, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """A table's rows by their names; create the table if needed, and remove a row that was cut off by a kill."""
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
    return {row[0]: dict(zip(columns, row, strict=False)) for row in rows[1:]}


def _append(path: Path, rows: Sequence[Sequence[str]], mode: str = "a") -> None:
    """Append rows by one write that reaches the disk before this returns: a kill can truncate only the last row."""
    text = io.StringIO()
    write_rows(text, rows)
    with path.open(mode, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(text.getvalue())
        stream.flush()
        os.fsync(stream.fileno())
