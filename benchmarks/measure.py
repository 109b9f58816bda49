"""Measurements: contenders run in separate processes, are checked against each other, and are then timed in turns.

A `Benchmark` has contenders that compute the same result from the same input; acreg's is the first. Each has its own
process, so that frameworks do not compete for threads or memory. A contender whose results differ from the first one's
by more than the benchmark's tolerance is refused and not timed. The others are timed in turns, round after round, so
that other load on the machine affects all of them equally; ratios are computed within a round.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from acreg.errors import UsageError
from acreg.versions import package_versions
from benchmarks.processes import Failed, Process, Processes

PACKAGES = (
    "acreg", "tensorflow", "keras", "jax", "numpy", "scipy", "SimpleITK", "medpy", "torch", "monai", "torchio",
    "voxelmorph", "itk-elastix", "antspyx", "picsl-greedy",
)  # fmt: skip
COPY = "a copy"
"""The contender whose bandwidth is that of the device; its result is not compared."""
INSTALL = {"itk": "itk-elastix", "ants": "antspyx", "picsl_greedy": "picsl-greedy"}
"""Names of packages by the names under which they are imported, if these differ."""


@dataclass(frozen=True)
class Contender:
    """One of the programs that are compared.

    Args:
        prepare: imports its framework, makes the input, and returns the function to be timed: without arguments, its
            result is an array (of any framework) or a sequence of several. A peer may omit the last of the arrays that
            the first contender returns; those that it returns are compared.
        needs: packages that acreg does not require, by the names under which they are imported.
        size: size of the input, if contenders differ in it; used for the growth.
        moved: minimum number of bytes read and written, for the share of a device's bandwidth.
        items: number of items that one call makes; times are then of one item.
    """

    prepare: Callable[[], Callable[[], Any]]
    needs: tuple[str, ...] = ()
    size: float | None = None
    moved: int | None = None
    items: int = 1


@dataclass(frozen=True)
class Benchmark:
    """A comparison or, if the contenders have sizes, a measurement of growth.

    Args:
        module: the module whose ``benchmarks(quick)`` returns this; the contenders' processes find it there.
        name: name of the benchmark on the command line.
        title: heading on the page.
        contenders: contenders by name; others are compared with the first. Names of acreg's own begin with "acreg".
        tolerance: largest accepted difference from the first one's result at any element, as a share of its largest
            value; None if results are not compared.
        faster: target: the factor by which the first should be faster than the fastest peer.
        within: target: the seconds that the first may take.
        note: further information for the reader.
        size_name: unit of the sizes.
        calls: minimum number of calls in one timing; their results are awaited together.
        device: "cpu", whose threads are limited, or "gpu".
        environment: environment variables of the processes.
        item: what contenders make several of in a call, such as "pair", whose rate the page gives; empty if nothing.
    """

    module: str
    name: str
    title: str
    contenders: Mapping[str, Contender]
    tolerance: float | None = None
    faster: float | None = None
    within: float | None = None
    note: str = ""
    size_name: str = ""
    calls: int = 1
    device: str = "cpu"
    environment: Mapping[str, str] = field(default_factory=dict)
    item: str = ""


@dataclass(frozen=True)
class Effort:
    """How long to measure: minimum and maximum number of rounds, and the seconds after which no new round starts."""

    least: int = 5
    most: int = 25
    seconds: float = 30.0
    quick: bool = False
    """Whether small inputs are used, to test that everything runs."""


QUICK = Effort(least=2, most=3, seconds=1.0, quick=True)


def measure(benchmark: Benchmark, effort: Effort, processes: Processes, skipped: str = "") -> dict[str, Any]:
    """Check the contenders of a benchmark against each other and time them, unless `skipped` gives a reason not to.

    Returns:
        The content of the JSON file: the ``name``, ``title``, ``note`` and targets of the benchmark, ``calls`` and
        ``took`` (total seconds), and for each of ``contenders``: ``state`` ("measured", "missing", "failed" or
        "refused"), ``why`` (if it was not measured) and ``difference`` (the largest from the first one's results). If
        it was measured: ``seconds`` and ``cpu_seconds`` of one call, or item, in each round, ``memory_mb`` (peak of the
        process), ``work_mb`` (increase of the peak during the timed calls; for commands, which are new processes, both
        are the command's peak), ``size`` and ``moved`` as given.
    """
    told = ("module", "name", "title", "note", "tolerance", "faster", "within", "size_name", "calls", "device", "item")
    about = {name: getattr(benchmark, name) for name in told}
    if skipped:
        return {**about, "took": 0.0, "skipped": skipped, "contenders": {}}
    begin = time.perf_counter()
    contest = _Contest(processes)
    with tempfile.TemporaryDirectory(prefix="acreg-bench-") as folder:
        contest.prepare(benchmark, effort.quick, Path(folder))
    contest.take_turns(effort)
    return {**about, "took": time.perf_counter() - begin, "contenders": contest.found}


class _Contest:
    """Contenders during the measurement: the results of each so far, and the processes of those that still run."""

    def __init__(self, processes: Processes) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._processes = processes
        self._running: dict[str, Process] = {}

    def prepare(self, benchmark: Benchmark, quick: bool, folder: Path) -> None:
        """Start each contender and compare its results, which go to `folder`, with those of the first that has any."""
        reference: Path | None = None
        for number, (name, contender) in enumerate(benchmark.contenders.items()):
            self.found[name] = {"state": "measured", "size": contender.size, "moved": contender.moved}
            framework = "torch" if "torch" in contender.needs else "keras"
            missing = self._processes.missing(framework, contender.needs)
            if missing:
                wanted = " ".join(INSTALL.get(package, package) for package in missing)
                self.found[name] |= {"state": "missing", "why": f"to install: python -m pip install {wanted}"}
                continue
            self._running[name] = self._processes.get(framework, benchmark.device, benchmark.environment)
            results = folder / f"{number}.npz"
            which = {"module": benchmark.module, "benchmark": benchmark.name, "contender": name, "quick": quick}
            self._ask(name, "prepare", **which, results=str(results))
            if name not in self._running or benchmark.tolerance is None or name == COPY:
                continue
            reference = reference or results
            off = largest_difference(reference, results)
            self.found[name]["difference"] = None if np.isinf(off) else off
            if not off <= benchmark.tolerance:
                differs = "in shape or by a NaN" if np.isinf(off) else f"by {off:.2g} of the largest value"
                why = f"its result differs from the first one's {differs}; {benchmark.tolerance:g} is allowed"
                self._stop(name, "refused", why)

    def take_turns(self, effort: Effort) -> None:
        """Run rounds with one timing per contender, in rotating order; then query the memory, and end the processes."""
        for name in self._running:
            self.found[name] |= {"seconds": [], "cpu_seconds": []}
        start = time.perf_counter()
        for turn in range(effort.most):
            if turn >= effort.least and time.perf_counter() - start > effort.seconds:
                break
            names = deque(self._running)
            names.rotate(-turn)
            for name in names:
                for key, value in self._ask(name, "time").items():
                    self.found[name][key].append(value)
        for name in list(self._running):
            self.found[name] |= self._ask(name, "memory")
        for name in list(self._running):
            self._stop(name)

    def _ask(self, name: str, what: str, **more: Any) -> dict[str, float]:
        """Ask a contender; the answer is empty if it failed, and it is then ended."""
        try:
            return self._running[name].ask(what=what, key=name, **more)
        except Failed as error:
            self._stop(name, "failed", str(error))
            return {}

    def _stop(self, name: str, state: str = "", why: str = "") -> None:
        process = self._running.pop(name)
        with suppress(Failed):
            process.ask(what="forget", key=name)
        self._processes.end(process)
        if state:
            self.found[name] |= {"state": state, "why": why}


def largest_difference(first: Path, other: Path) -> float:
    """The largest difference between the arrays of two files, as a share of the largest value of the first.

    `other` may hold fewer arrays. Infinite if it holds more or none, if shapes differ, or if there is a NaN.
    """
    with np.load(first) as a, np.load(other) as b:
        names = b.files
        if not names or not set(names) <= set(a.files) or any(a[name].shape != b[name].shape for name in names):
            return float("inf")
        differences = []
        for name in names:
            one, two = a[name].astype(float), b[name].astype(float)
            largest = np.abs(one).max(initial=0.0)
            differences.append(np.abs(one - two).max(initial=0.0) / (largest if largest else 1.0))
    return float(np.nan_to_num(max(differences), nan=np.inf))


def seconds(function: Callable[[], object], repeats: int) -> float:
    """The median time of a call in this process, after a first call that is not counted."""
    function()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return median(taken)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    low, middle, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def ratio(times: Sequence[float], to: Sequence[float]) -> tuple[float, float, float]:
    """Quartiles over the rounds of one contender's time as a multiple of another's in the same round."""
    return quartiles([a / b for a, b in zip(times, to, strict=True)])


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent p of ``value = c size^p``, fitted by least squares of the logarithms."""
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float)), 1)[0])


def machine() -> dict[str, Any]:
    """The machine on which the figures depend: processor, memory, system, versions, and the current load."""
    cpu, memory = platform.processor() or platform.machine(), 0.0
    if Path("/proc/cpuinfo").is_file():
        names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
        cpu = names[0] if names else cpu
        memory = next(int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": package_versions(PACKAGES),
        "load": round(os.getloadavg()[0], 2),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def find(benchmarks: Sequence[Benchmark], names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks with the given names, each of a benchmark or of a module; all of them if there are no names.

    Raises:
        UsageError: there is no benchmark or module of that name.
    """
    chosen = []
    for name in names:
        matching = [b for b in benchmarks if name in (b.name, b.module.rsplit(".", 1)[-1])]
        if not matching:
            known = ", ".join(b.name for b in benchmarks)
            raise UsageError(f"A benchmark is one of {known}. Received: {name}. Correct the name, or see --list.")
        chosen += [b for b in matching if b not in chosen]
    return chosen if names else list(benchmarks)
