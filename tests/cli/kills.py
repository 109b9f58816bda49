"""Kill commands at random moments, and start two at once on one folder: nothing is lost and nothing is mixed.

``python -m tests.cli.kills --count 20`` kills `register`, `evaluate` and `data prepare --jobs 2` so many times each, at
moments spread over the time that each takes, gives the same command again and compares what is there with what an
unbroken command makes; then it starts two of each at once, as often. Commands run in forks of this process, so that no
kill falls into the import of packages.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acreg.cli.main import main
from acreg.data.phantoms.chests import make_dataset
from acreg.geometry import Grid
from acreg.io import Image, write_image
from acreg.io.folders import READY

ONE_AT_A_TIME, NOT_REPLACED = "One process at a time", "not replaced unasked"


@dataclass
class Run:
    """A command in a process of its own, the first of its session."""

    words: Sequence[str]
    log: Path
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        self.pid = os.fork()
        if not self.pid:
            code = 99
            try:
                os.setsid()
                output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(output, 1)
                os.dup2(output, 2)
                sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
                code = main(self.words)
                sys.stdout.flush()
            finally:
                os._exit(code)

    def wait(self) -> int:
        """The exit code; that of a signal is negative."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> int:
        """Kill the process alone, and wait until those that it started are gone, too."""
        os.kill(self.pid, signal.SIGKILL)
        code = self.wait()
        for _ in range(300):
            if not _session(self.pid):
                return code
            time.sleep(0.1)
        raise AssertionError(f"Processes outlive the killed one: {_session(self.pid)}")


def _session(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:  # it just ended
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


@dataclass(frozen=True)
class Case:
    """A command without its --out, and whether a second one finds nothing to do where the first is complete."""

    words: tuple[str, ...]
    idempotent: bool


def make_cases(folder: Path) -> dict[str, Case]:
    """The commands, and in `folder` what they read."""
    make_dataset(folder / "data", subjects=20, shape=(48, 40), seed=0)
    random_numbers = np.random.default_rng(0)
    for number in range(8):
        for kind in ("images", "labels"):
            shape = (24, 32, 32)
            array = np.indices(shape).sum(axis=0) + 9 * random_numbers.random(shape)
            if kind == "labels":
                array = array > 40 + number
            image = Image(array, Grid(shape, (2.0, 1.0, 1.0)), "labels" if kind == "labels" else "intensity")
            write_image(image, folder / "scans" / kind / f"s{number}.nii.gz")
    pair = [f"--fixed={folder}/data/images/phantom001.png", f"--moving={folder}/data/images/phantom002.png"]
    methods = ["--method=sitk:affine", "--method=demons=sitk:demons[iterations=20x10]"]
    return {
        "register": Case(("register", methods[0], *pair), idempotent=False),
        "evaluate": Case(
            ("evaluate", f"--data={folder}/data", "--pairs=3", "--save=labels,transform", *methods), idempotent=True
        ),
        "prepare": Case(
            ("data", "prepare", "folder", f"--source={folder}/scans", "--spacing=1.5", "--jobs=2"), idempotent=True
        ),
    }


def content(folder: Path) -> dict[str, Any]:
    """What is in the files of a folder, hidden ones, too, apart from times."""
    return {path.relative_to(folder).as_posix(): _content(path) for path in folder.rglob("*") if path.is_file()}


def _content(path: Path) -> Any:
    if path.name == "pairs.csv":
        with path.open(newline="", encoding="utf-8") as stream:
            return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]
    if path.name == "result.json":
        return {name: value for name, value in json.loads(path.read_text("utf-8")).items() if name != "seconds"}
    if path.name == "summary.json":
        summary = json.loads(path.read_text(encoding="utf-8"))
        del summary["started"], summary["metrics"]["seconds"]
        return summary
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def visible(folder: Path) -> set[str]:
    """The files that are no leavings of a kill; none where complete results are still to be put in place."""
    if (folder / READY).exists():
        return set()
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        path.relative_to(folder).as_posix() for hidden in folder.rglob(".*") for path in [hidden, *hidden.rglob("*")]
    }


class Trial:
    """The trials of one command, in a folder of its own."""

    def __init__(self, name: str, case: Case, folder: Path, seed: int) -> None:
        self.name, self.case, self.folder = name, case, folder
        self.random = random.Random(f"{seed} {name}")
        folder.mkdir()
        start = time.perf_counter()
        code = self.run("unbroken").wait()
        self.seconds = time.perf_counter() - start
        assert code == 0, self.said("unbroken")
        self.expected = content(folder / "unbroken")
        self.outcomes: Counter[str] = Counter()

    def run(self, out: str, log: str = "") -> Run:
        """Start the command."""
        return Run([*self.case.words, f"--out={self.folder / out}"], self.folder / f"{log or out}.log")

    def said(self, log: str) -> str:
        """What a command printed."""
        return (self.folder / f"{log}.log").read_text(encoding="utf-8")

    def kill(self, number: int) -> None:
        """Kill the command, look at what is there, and give it again."""
        out = f"killed{number}"
        target = self.folder / out
        first = self.run(out)
        time.sleep(self.random.uniform(0, self.seconds))
        code = first.kill()
        assert code in (0, -signal.SIGKILL), self.said(out)
        there = visible(target)
        assert there <= set(self.expected), there - set(self.expected)
        complete = there == set(self.expected)
        self.outcomes["complete" if complete else "in part" if there else "nothing"] += 1
        if self.name == "register":  # all or none
            assert complete or not there, there
        if self.name == "evaluate":  # a method whole, or not at all
            for method in {name.partition("/")[0] for name in there if "/" in name}:
                assert {n for n in self.expected if n.startswith(f"{method}/")} <= there, there
        refused = complete and not self.case.idempotent
        code = self.run(out, f"{out}-again").wait()
        assert code == int(refused), (code, self.said(f"{out}-again"))
        assert not refused or NOT_REPLACED in self.said(f"{out}-again")
        self.check(out)

    def two_at_once(self, number: int) -> None:
        """Start the command twice: one does the work, and the other one is refused or finds it done."""
        out = f"both{number}"
        logs = [f"{out}-{which}" for which in "ab"]
        both = [self.run(out, log) for log in logs]
        codes = [each.wait() for each in both]
        assert sorted(codes) in ([0, 1], [0, 0]), [self.said(log) for log in logs]
        for code, log in zip(codes, logs, strict=True):
            allowed = [ONE_AT_A_TIME] if self.case.idempotent else [ONE_AT_A_TIME, NOT_REPLACED]
            assert code == 0 or any(text in self.said(log) for text in allowed), self.said(log)
        assert codes != [0, 0] or self.case.idempotent
        self.outcomes[f"two at once: {sum(codes)} refused"] += 1
        self.check(out)

    def check(self, out: str) -> None:
        """Raise `AssertionError` where a folder is not what an unbroken command makes."""
        found = content(self.folder / out)
        assert found.keys() == self.expected.keys(), found.keys() ^ self.expected.keys()
        different = [name for name, value in self.expected.items() if found[name] != value]
        assert not different, different


def try_all(
    folder: Path, count: int, seed: int, names: Sequence[str] = (), say: Callable[[str], None] | None = None
) -> dict[str, Counter[str]]:
    """Kill each command `count` times and start it twice as often; how many ended how."""
    found = {}
    for name, case in make_cases(folder).items():
        if names and name not in names:
            continue
        trial = Trial(name, case, folder / f"trial-{name}", seed)
        for number in range(count):
            trial.kill(number)
            trial.two_at_once(number)
        found[name] = trial.outcomes
        if say:
            say(f"{name} ({trial.seconds:.1f} s unbroken): {dict(trial.outcomes)}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        try_all(Path(made), given.count, given.seed, given.only, lambda text: print(text, flush=True))
