"""Compare acreg with its peers and write the figures of docs/performance.md.

Run as ``python -m benchmarks [NAME ...]`` with the extras bench and baselines, on a machine that does
nothing else; ``make bench`` does so and writes the page. Each result is a separate JSON file: a new measurement
replaces the previous one, and results of another machine (such as one with a GPU) can be added.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.documents import write_json
from benchmarks import fields, gpu, growth, loaders, losses, networks, programs, report, warp
from benchmarks.measure import QUICK, Benchmark, Effort, find, machine, measure
from benchmarks.processes import Processes

MODULES = (warp, fields, losses, networks, loaders, programs, growth, gpu)
COMMAND = "make bench"


def benchmarks(quick: bool) -> list[Benchmark]:
    """All benchmarks."""
    return [benchmark for module in MODULES for benchmark in module.benchmarks(quick)]


def run(
    chosen: Sequence[Benchmark], effort: Effort, processes: Processes, folder: Path, say: Callable[[str], None]
) -> bool:
    """Measure, and write a JSON file for each benchmark; return whether all succeeded (missing peers do not count).

    Raises:
        AcregError: all requested benchmarks need a GPU, and there is none.
    """
    numbers = {benchmark.name: number for number, benchmark in enumerate(benchmarks(effort.quick))}
    missing = gpu.absent() if any(benchmark.device == "gpu" for benchmark in chosen) else ""
    if missing and all(benchmark.device == "gpu" for benchmark in chosen):
        raise AcregError(
            f"These benchmarks need a GPU that JAX sees. Received: {missing}. They would measure: "
            f"{'; '.join(benchmark.title for benchmark in chosen)}. Run them where `python -c 'import jax; "
            "print(jax.devices())'` names a GPU; TensorFlow is not needed there."
        )
    well = True
    for place, benchmark in enumerate(chosen, start=1):
        say(f"{place}/{len(chosen)} {benchmark.name}: {benchmark.title}")
        about = machine() | ({"gpu": gpu.name()} if benchmark.device == "gpu" and not missing else {})
        # Without a GPU nothing is measured, but the page describes what would be.
        skipped = missing if benchmark.device == "gpu" else ""
        result = measure(benchmark, effort, processes, skipped)
        well &= all(one["state"] in ("measured", "missing") for one in result["contenders"].values())
        result |= {
            "number": numbers[benchmark.name],
            "machine": about,
            "threads": processes.threads,
            "quick": effort.quick,
        }
        write_json(folder / f"{benchmark.name}.json", result)
        for line in report.table(result).splitlines()[3:]:
            say(f"    {line}" if line else "")
    return well


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 for success, 1 if something failed or was refused, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="benchmarks, or groups such as warp, growth, gpu; all if left out")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--quick", action="store_true", help="small inputs, few rounds: does everything run?")
    parser.add_argument("--threads", type=int, default=2, help="of every contender (2)")
    parser.add_argument("--torch-python", default="", help="of another environment with PyTorch, MONAI, TorchIO")
    parser.add_argument("--out", type=Path, help="folder of the results (runs/benchmarks, or -quick)")
    parser.add_argument("--page", type=Path, help="where the page is written; in the folder if left out")
    parser.add_argument("--page-only", action="store_true", help="measure nothing, write the page of what is there")
    given = parser.parse_args(arguments)
    try:
        known = benchmarks(given.quick)
        chosen = find(known, given.names)
        if given.list:
            print("\n".join(f"{benchmark.name:28} {benchmark.title}" for benchmark in chosen))
            return 0
        if given.threads < 1 or given.threads > len(os.sched_getaffinity(0)):
            parser.error(f"--threads is from 1 to the number of CPUs. Received: {given.threads}")
        folder = given.out or Path("runs/benchmarks-quick" if given.quick else "runs/benchmarks")
        start, well = time.perf_counter(), True
        if not given.page_only:
            with Processes(given.threads, given.quick, given.torch_python) as processes:
                effort = QUICK if given.quick else Effort()
                well = run(chosen, effort, processes, folder, lambda text: print(text, flush=True))
        written = report.write(folder, COMMAND, given.page)
        print(f"{written}, after {(time.perf_counter() - start) / 60:.1f} minutes")
    except AcregError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if not well:
        print("Something failed or was refused: the page says what and why.", file=sys.stderr)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
