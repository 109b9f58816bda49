"""Registration without a trained network, against other programs: writes docs/any_pair.md.

Run as ``python -m benchmarks.any_pair --out RESULTS --page docs/any_pair.md`` with the extra baselines; the variable
ACREG_DATA names the folder of the six data sets (`benchmarks.any_pair_sets`). ConvexAdam needs other versions of
packages, and so an environment of its own: ``--convexadam PYTHON`` names its Python, where ``pip install torch
convexAdam`` was run. A result is a JSON file for each set, method and pair: an interrupted run is continued, and
``--again`` measures chosen methods once more. Each method runs in a process of its own with one thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from acreg.errors import AcregError, UsageError
from acreg.io.documents import read_json, write_json
from acreg.names import safe_name
from acreg.registration.methods import Method, Unregistered, named_method
from acreg.versions import package_versions
from benchmarks.any_pair_page import write_page
from benchmarks.any_pair_scores import registered
from benchmarks.any_pair_sets import MUTUAL, ONE_LEVEL, SETS, PairSet
from benchmarks.convex_adam import ConvexAdam
from benchmarks.processes import THREADS

METHODS = (
    "unregistered", "acreg:affine", "ants:affine", "acreg:deformable", "acreg:multimodal", "ants:SyN", "ants:SyNCC",
    "greedy:deformable", ONE_LEVEL, f"greedy:deformable{MUTUAL}", "elastix:bspline", f"elastix:bspline{MUTUAL}",
    ConvexAdam.name,
)  # fmt: skip
"""All methods, in the order of the page."""
PROGRAM = (sys.executable, "-m", "benchmarks.any_pair")
LIMIT = 600
"""CPU seconds after which a registration is stopped."""
PACKAGES = ("acreg", "tensorflow", "keras", "antspyx", "picsl-greedy", "itk-elastix", "numpy", "scipy")


def methods_of(pairs: PairSet, names: Sequence[str]) -> list[str]:
    """Those of the named methods that a set has: all except those that are for other sets."""
    others = {name for one in SETS.values() for name in one.methods}.difference(pairs.methods)
    return [name for name in names if name not in others]


def method(name: str, convexadam: str) -> Method:
    """The method of this name, with one thread and the seed 0; of the images as they are, with aligned extents."""
    if name == Unregistered.name:
        return Unregistered("extents")
    return ConvexAdam(convexadam) if name == ConvexAdam.name else named_method(name, 1, 0)


def result_path(out: Path, pairs: str, name: str, key: str) -> Path:
    """The file of a result."""
    return out / pairs / safe_name(name) / f"{safe_name(key)}.json"


def work(pairs: str, split: str, name: str, keys: Sequence[str], out: Path, convexadam: str, limit: int) -> None:
    """Register pairs one after the other, and write the result of each; the process of one method.

    A registration that takes more than `limit` CPU seconds ends the process.
    """
    chosen, cases = method(name, convexadam), SETS[pairs].make(split)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    versions = package_versions(PACKAGES)
    for key in keys:
        case = cases[key]()
        print("started", key, flush=True)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + limit + 1, hard))
        result = registered(chosen, case)
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        write_json(result_path(out, pairs, name, key), {"pair": key, "method": name, "versions": versions, **result})


def measure(pairs: str, split: str, name: str, out: Path, convexadam: str, limit: int) -> Iterator[str]:
    """Register the pairs of a set that have no result yet, in processes that are started anew when one ends.

    Yields:
        A line for each registered pair.

    Raises:
        AcregError: the process of the method ended before it registered anything.
    """
    keys = list(SETS[pairs].make(split))
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **dict.fromkeys(THREADS, "1")}
    while left := [key for key in keys if not result_path(out, pairs, name, key).is_file()]:
        words = ["--work", pairs, name, *left, "--split", split, "--out", str(out), "--convexadam", convexadam]
        command = [*PROGRAM, *words, "--limit", str(limit)]
        started, pipe = "", subprocess.PIPE
        with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
            with subprocess.Popen(command, stdout=pipe, stderr=errors, text=True, env=environment) as process:
                for line in process.stdout or ():
                    word, _, key = line.strip().partition(" ")
                    if word != "started":  # what a library prints
                        continue
                    if started:
                        yield _line(result_path(out, pairs, name, started))
                    started = key
            errors.seek(0)
            printed = [text for text in errors.read().splitlines() if text.strip()][-1:]
        if not started:
            raise AcregError(f"Methods register pairs. Received: {name}, which ended first: {' '.join(printed)[:300]}.")
        path = result_path(out, pairs, name, started)
        if not path.is_file():
            late = process.returncode == -signal.SIGXCPU
            failure = f"stopped after {limit} CPU seconds" if late else f"ended with the code {process.returncode}"
            result = {"cpu_seconds": float(limit) if late else None, "seconds": None, "failure": failure}
            write_json(path, {"pair": started, "method": name, "versions": {}, **result})
        yield _line(path)


def _line(path: Path) -> str:
    result = read_json(path, "result")
    if result["failure"]:
        return f"{result['pair']}: {result['failure']}"
    scores = {name: value for name, value in result["scores"].items() if value is not None}
    shown = " ".join(f"{name} {value:.3g}" for name, value in scores.items())
    return f"{result['pair']}: {shown}, CPU {result['cpu_seconds']:.2f} s"


def read_results(out: Path, split: str, names: Sequence[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The results of each set and of each method that is complete there, in the order of the pairs."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for pairs, one in SETS.items():
        for name in methods_of(one, names):
            if (out / pairs / safe_name(name)).is_dir():
                paths = [result_path(out, pairs, name, key) for key in one.make(split)]
                if all(path.is_file() for path in paths):
                    found.setdefault(pairs, {})[name] = [read_json(path, "result") for path in paths]
    return found


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(prog="any_pair", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS), metavar="SET", help="some sets")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="METHOD", help="some methods")
    parser.add_argument("--split", default="test", choices=("test", "val"), help="val: pairs to choose settings on")
    parser.add_argument("--out", type=Path, default=Path("runs/any-pair"), help="folder of the results")
    parser.add_argument("--page", type=Path, help="where the page is written; in the folder if left out")
    parser.add_argument("--page-only", action="store_true", help="measure nothing, write the page of what is there")
    parser.add_argument("--again", action="store_true", help="remove the results of these sets and methods first")
    parser.add_argument("--convexadam", default="", metavar="PYTHON", help="of the environment that has ConvexAdam")
    parser.add_argument("--limit", type=int, default=LIMIT, help="CPU seconds of a registration (600)")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)  # SET METHOD PAIR ...: the process of a method
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 for success, 1 if a method could not run, 2 for wrong use."""
    given = parse(arguments)
    if given.work:
        pairs, name, *keys = given.work
        work(pairs, given.split, name, keys, given.out, given.convexadam, given.limit)
        return 0
    code = 0
    # Failed registrations count with the scores of the images as they are.
    names = given.methods if Unregistered.name in given.methods else [Unregistered.name, *given.methods]
    for name in [] if given.page_only else names:
        for pairs in given.sets:
            if name not in methods_of(SETS[pairs], names):
                continue
            if given.again and name in given.methods:
                for path in (given.out / pairs / safe_name(name)).glob("*.json"):
                    path.unlink()
            try:
                for line in measure(pairs, given.split, name, given.out, given.convexadam, given.limit):
                    print(f"{pairs} {name} {line}", flush=True)
            except AcregError as error:
                print(error, file=sys.stderr, flush=True)
                code = 2 if isinstance(error, UsageError) else 1
    page = given.page or given.out / "any_pair.md"
    shown = [*METHODS, *(name for name in given.methods if name not in METHODS)]
    write_page(page, read_results(given.out, given.split, shown), given.split)
    print(page)
    return code


if __name__ == "__main__":
    sys.exit(main())
