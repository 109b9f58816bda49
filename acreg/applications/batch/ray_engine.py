"""The same work on Ray: groups of images spread over actors that load their model once, on one machine or many.

Ray starts an actor anew that dies, and gives its group to another. The rows come to the one process that writes the
table, so none is lost and none is there twice; label maps are written by the actors, atomically, into a folder that all
machines see.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from acreg.applications.batch.items import Item
from acreg.applications.batch.run import READERS, Outcome, Task, work
from acreg.errors import AcregError, UsageError

CONNECT_SECONDS = 20
"""To wait for a cluster's answer."""


class RayEngine:
    """An engine for `acreg.applications.batch.run.run`.

    Args:
        address: of a cluster (``host:port``, ``auto``); None for one on this machine, which ends with the work.
        workers: actors; each has a CPU and, where the cluster has as many GPUs as actors, a GPU.

    It connects when it is made and disconnects after its work.

    Raises:
        AcregError: the package is not installed, or no cluster answers.
        UsageError: the cluster has fewer CPUs than actors are asked for.
    """

    def __init__(self, address: str | None = None, workers: int = 1) -> None:
        self.address, self.workers = address, workers
        try:
            import ray.data
        except ImportError as error:
            raise AcregError(
                f"The engine ray needs the package Ray. Received: {error}. To run: python -m pip install "
                "'acreg[scale]'."
            ) from error
        self._ray: Any = ray
        self._connect()

    def __call__(self, task: Task, groups: Iterable[Sequence[Item]]) -> Iterator[list[Outcome]]:
        """The outcomes of each group, in their order."""
        rows = [{"items": json.dumps([_plain(item) for item in items])} for items in groups]
        try:
            if rows:
                yield from self._run(task, rows)
        finally:
            self._ray.shutdown()

    def _connect(self) -> None:
        if self.address not in (None, "auto"):
            _check_answer(str(self.address))
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what Ray tells of itself is no user's concern
        try:
            self._ray.init(address=self.address or "local", logging_level="ERROR", log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise _no_cluster(self.address or "this machine", error) from error
        there = self._ray.cluster_resources()
        if self.workers > there.get("CPU", 0):
            self._ray.shutdown()
            raise UsageError(
                f"Each actor has a CPU. Received: --workers {self.workers}, and a cluster with "
                f"{there.get('CPU', 0):g}. Give fewer workers."
            )

    def _run(self, task: Task, rows: list[dict[str, str]]) -> Iterator[list[Outcome]]:
        data = self._ray.data
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        gpus = int(self._ray.cluster_resources().get("GPU", 0) >= self.workers)
        results = data.from_items(rows, override_num_blocks=len(rows)).map(
            _Actor, fn_constructor_args=(task,), concurrency=self.workers, num_cpus=1, num_gpus=gpus
        )
        for row in results.iter_rows():
            yield [Outcome(**each) for each in json.loads(row["outcomes"])]


class _Actor:
    """A worker in a process of its own."""

    def __init__(self, task: Task) -> None:
        self.worker = task.load()
        self.readers = ThreadPoolExecutor(READERS)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        items = [_item(each) for each in json.loads(row["items"])]
        contents = [self.readers.submit(self.worker.read, item) for item in items]
        return {"outcomes": json.dumps([asdict(each) for each in work(self.worker, items, contents)])}


def _plain(item: Item) -> dict[str, str | None]:
    return {key: None if value is None else str(value) for key, value in asdict(item).items()}


def _item(plain: dict[str, str | None]) -> Item:
    name, *paths = plain.values()
    image, labels, truth = (None if path is None else Path(path) for path in paths)
    return Item(str(name), image or Path(), labels, truth)


def _check_answer(address: str) -> None:
    """Ray itself waits for minutes where nothing answers."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS):
            pass
    except (OSError, ValueError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> AcregError:
    return AcregError(
        f"A Ray cluster answers at its address. Received: --address {address} ({' '.join(str(error).split())[:200]}). "
        "Start one with `ray start --head`, or correct the address; without --address one is started on this machine."
    )
