"""The processes in which contenders run, and the communication with them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from acreg.errors import AcregError

THREADS = (
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)  # fmt: skip


class Failed(Exception):
    """A contender could not carry out a request."""


class Process:
    """A process that runs `benchmarks.worker`, which answers each line of JSON with another line.

    Args:
        threads: number of threads of all libraries in it; 0 sets no limit.
        environment: variables in addition to those of this process.
        python: the program that runs it.
    """

    def __init__(self, threads: int, environment: Mapping[str, str], python: str = sys.executable) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        limits = dict.fromkeys(THREADS, str(threads)) if threads else {}
        defaults = {"TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "Agg"}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**defaults, **os.environ, **limits, **environment},
        )

    @property
    def runs(self) -> bool:
        """Whether it still answers."""
        return self._process.poll() is None

    def ask(self, **question: Any) -> dict[str, float]:
        """Send a question and wait for the answer.

        Raises:
            Failed: the request failed; the message is one line.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise AcregError("A process is asked through pipes. Received: none. This should not happen: report it.")
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            printed = [text for text in self._errors.read().splitlines() if text.strip()]
            last = f" and printed last: {printed[-1].strip()}" if printed else ""
            raise Failed(f"it ended with the code {self._process.returncode}{last}")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()


class Processes:
    """Gives each contender a process.

    Args:
        threads: number of threads of each process on a CPU.
        shared: let contenders of one framework share a process in consecutive benchmarks. This saves start-up time, but
            the measurements are then not meaningful.
        torch_python: the Python of another environment, in which the contenders that need PyTorch run. It has
            SciPy, pydantic and lazy-loader as well, and finds acreg in the folder in which this process runs.
    """

    def __init__(self, threads: int, shared: bool = False, torch_python: str = "") -> None:
        self.threads = threads
        self._torch_python = torch_python or sys.executable
        self._shared = shared
        self._kept: dict[tuple[Any, ...], Process] = {}

    def missing(self, framework: str, packages: Sequence[str]) -> list[str]:
        """Those of some packages, by the names under which they are imported, that a process would not find.

        Raises:
            AcregError: the other environment's Python does not run.
        """
        if framework != "torch" or self._torch_python == sys.executable:
            return [package for package in packages if importlib.util.find_spec(package) is None]
        code = "import importlib.util as u, sys; print(*[name for name in sys.argv[1:] if u.find_spec(name) is None])"
        try:
            found = subprocess.run(
                [self._torch_python, "-c", code, *packages], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise AcregError(
                f"--torch-python is the Python of an environment. Received: {self._torch_python}, {error}. Correct it."
            ) from error
        return found.stdout.split()

    def get(self, framework: str, device: str, environment: Mapping[str, str]) -> Process:
        """A process for a contender of that framework."""
        threads = self.threads if device == "cpu" else 0
        key = (framework, threads, *sorted(environment.items()))
        if key in self._kept and self._kept[key].runs:
            return self._kept[key]
        process = Process(threads, environment, self._torch_python if framework == "torch" else sys.executable)
        if self._shared:
            self._kept[key] = process
        return process

    def end(self, process: Process) -> None:
        """Release a process that a contender no longer needs."""
        if process not in self._kept.values():
            process.close()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._kept.values():
            process.close()
