"""The same work on Ray: groups of images spread over actors that load their model once, on one machine or many.

Ray restarts an actor that dies, and gives its group to another one. A single process receives all rows and writes the
table, so that no row is lost or duplicated; the actors write label maps atomically into a folder that all machines can
access.
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

from acreg.applications.batch.items import Item, PairItem
from acreg.applications.batch.run import READERS, AnyItem, Outcome, Task, work
from acreg.errors import AcregError, UsageError

CONNECT_SECONDS = 20
"""Seconds to wait for a cluster's answer."""


class RayEngine:
    """An engine for `acreg.applications.batch.run.run`.

    Args:
        address: address of a cluster (``host:port``, ``auto``); None for a temporary one on this machine.
        workers: number of actors; each has a CPU and, if the cluster has at least as many GPUs as actors, a GPU.

    It connects when it is constructed and disconnects after its work.

    Raises:
        AcregError: the package is not installed, or no cluster answers.
        UsageError: the cluster has fewer CPUs than the requested number of actors.
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

    def __call__(self, task: Task, groups: Iterable[Sequence[AnyItem]]) -> Iterator[list[Outcome]]:
        """Yield the outcomes of each group, in the order of the groups."""
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
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's own log messages do not concern the user
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
    """A worker in its own process."""

    def __init__(self, task: Task) -> None:
        self.worker = task.load()
        self.readers = ThreadPoolExecutor(READERS)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        items = [_item(each) for each in json.loads(row["items"])]
        contents = [self.readers.submit(self.worker.read, item) for item in items]
        return {"outcomes": json.dumps([asdict(each) for each in work(self.worker, items, contents)])}


def _plain(item: AnyItem) -> dict[str, str | None]:
    return {key: None if value is None else str(value) for key, value in asdict(item).items()}


def _item(plain: dict[str, str | None]) -> AnyItem:
    files: dict[str, Any] = {key: None if value is None else Path(value) for key, value in plain.items()}
    kind = PairItem if "fixed" in files else Item
    return kind(**{**files, "name": str(plain["name"])})


def _check_answer(address: str) -> None:
    """Raise `AcregError` if no cluster answers; Ray itself would wait for minutes."""
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
