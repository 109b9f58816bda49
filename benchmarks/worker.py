"""The process of a contender: prepares it, calls it once, and then times calls on request from standard input.

Started by `benchmarks.processes`, which communicates with it through standard input and output.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np


def arrays(result: Any) -> list[np.ndarray]:
    """A result, or the parts of one, as NumPy arrays."""
    parts = result if isinstance(result, (list, tuple)) else [result]
    return [np.asarray(part.cpu() if getattr(part, "is_cuda", False) else part) for part in parts]


def settle(result: Any) -> None:
    """Wait until the computations on a device are finished."""
    for part in result if isinstance(result, (list, tuple)) else [result]:
        if hasattr(part, "block_until_ready"):
            part.block_until_ready()
        elif getattr(part, "is_cuda", False):
            import torch

            torch.cuda.synchronize()


def memory_mb(what: str, process: int | str = "self") -> float:
    """``VmRSS`` (now) or ``VmHWM`` (the peak) of a process; getrusage would count its parent's as well."""
    with open(f"/proc/{process}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(f"{what}:"))


def forget_peak() -> None:
    """Reset `VmHWM`; if the system forbids this, it stays unchanged."""
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def cpu_seconds() -> float:
    """CPU seconds of this process and of the programs that it ran."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


LEAST_SECONDS = 0.1
"""Approximate duration of one timing, which determines its number of calls."""


class Work:
    """A contender, prepared and called once; its results are in a file."""

    def __init__(self, module: str, benchmark: str, contender: str, quick: bool, results: str) -> None:
        found = next(b for b in importlib.import_module(module).benchmarks(quick) if b.name == benchmark)
        chosen = found.contenders[contender]
        if "torch" in chosen.needs:
            sys.modules["tensorflow"] = None  # type: ignore[assignment]  # MONAI imports it if it can, and both crash
        self._calls, self._items = found.calls, chosen.items
        self._run: Callable[[], Any] = chosen.prepare()
        first = self._run()
        settle(first)
        np.savez(results, *arrays(first))
        del first
        # After the others' turns, a call of a few ms would be timed with cold caches and an idle core.
        self._calls = max(self._calls, int(LEAST_SECONDS / (self.time()["seconds"] * self._items)))
        self._peak, self._before = memory_mb("VmHWM"), memory_mb("VmRSS")
        forget_peak()

    def time(self) -> dict[str, float]:
        """Seconds and CPU seconds of one call, or of one of its items."""
        start, cpu = time.perf_counter(), cpu_seconds()
        result = None
        for _ in range(self._calls):
            result = self._run()
        settle(result)
        taken, used = time.perf_counter() - start, cpu_seconds() - cpu
        number = self._calls * self._items
        return {"seconds": taken / number, "cpu_seconds": used / number}

    def memory(self) -> dict[str, float]:
        """The process's peak, and its increase during the timed calls; or a command's peak."""
        now = memory_mb("VmHWM")
        if peak := getattr(self._run, "peak_mb", 0.0):
            return {"memory_mb": peak, "work_mb": peak}
        return {"memory_mb": max(self._peak, now), "work_mb": max(now - self._before, 0.0)}


def main(threads: int) -> None:
    """Answer requests until the input ends: "prepare", "time", "memory" or "forget", each for a ``key``."""
    # Standard output is for answers only: what libraries print is redirected to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if threads:
        # Not every library reads an environment variable.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    works: dict[str, Work] = {}
    for line in sys.stdin:
        question = json.loads(line)
        what, key = question.pop("what"), question.pop("key")
        answer: dict[str, Any] = {}
        try:
            if what == "prepare":
                works[key] = Work(**question)
            elif what == "forget":
                works.pop(key, None)
            else:
                answer = getattr(works[key], what)()
        except Exception as error:  # any error of a library is reported on the page
            answer = {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
