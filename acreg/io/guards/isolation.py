"""C and C++ decoders, run in a separate process.

Their behaviour with a damaged or hostile file cannot be foreseen: they crash, hang, or take any amount of memory. Each
Python process starts one decoder process when it is first needed (0.1 to 0.2 s), reuses it for each file, and restarts
it after a crash, so that one bad file causes one `AcregError` and does not end a run over ten thousand files.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from acreg.io.guards import decoder

SECONDS = 60
"""Seconds to wait for an answer, in addition to those for its bytes; greater than the decoder's own limit of computing
time, because disks are slow."""

ALONE = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""One thread: each thread takes address space, which is limited, and no decoder needs more."""


def decode(task: str, path: Path, size: int = 0, **arguments: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The facts and arrays that a task of `acreg.io.guards.decoder` returns for a file.

    If no such process can be started (no Python at `sys.executable`, no POSIX), the task runs in this process.

    Args:
        task: its name in `acreg.io.guards.decoder.TASKS`.
        path: the file.
        size: expected number of bytes of the arrays, which sets the limits of memory and time.
        arguments: further arguments of the task.

    Raises:
        RuntimeError: the decoder refused the file, crashed, or took too much memory or time; `decoding` words the
            message.
    """
    with _lock:
        child = _started()
        if child is not None:
            return child.ask({"task": task, "path": os.path.abspath(path), "bytes": size, **arguments}, size)
    return decoder.TASKS[task](path=str(path), **arguments)


class _Child:
    """The process, and the pipes to it."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(decoder.__file__)), json.dumps([str(p) for p in sys.path if p])]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "bufsize": 0}
        self._process = subprocess.Popen(command, env={**os.environ, **ALONE}, **pipes)
        self._requests: Any = self._process.stdin
        self._answers: Any = self._process.stdout
        self._deadline = time.monotonic() + SECONDS
        try:
            if decoder.receive(self._read) is None:
                raise OSError("the decoder did not start")
        except BaseException:
            self.close()
            raise

    def ask(self, request: dict[str, Any], size: int) -> tuple[dict[str, Any], list[np.ndarray]]:
        self._deadline = time.monotonic() + SECONDS + size / decoder.BYTES_A_SECOND
        try:
            self._requests.write(decoder.pack(request))
            answer = decoder.receive(self._read)
            if answer is None:
                raise EOFError
            if "error" in answer:
                raise RuntimeError(answer["error"])
            arrays = [np.empty(shape, dtype) for dtype, shape in answer["arrays"]]
            for array in arrays:
                self._read_into(memoryview(array.reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
        except (EOFError, OSError, TimeoutError) as error:
            self.close()
            code = -signal.SIGXCPU if isinstance(error, TimeoutError) else self._process.returncode
            reason = "takes too long" if code == -signal.SIGXCPU else f"crashes with signal {-code}"
            raise RuntimeError(f"its decoder {reason}") from None
        except RuntimeError:
            raise
        except BaseException:  # interrupted, or an invalid answer: the next answer would be out of step
            self.close()
            raise
        return answer["facts"], arrays

    def close(self) -> None:
        """End the process."""
        _forget()
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        self.close_pipes()

    def close_pipes(self) -> None:
        """Close this side of the pipes; the process ends by itself when no process holds this side."""
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()

    def _read(self, count: int) -> bytes:
        content = bytearray(count)
        self._read_into(memoryview(content))
        return bytes(content)

    def _read_into(self, view: memoryview) -> None:
        got = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while got < len(view):
                if not selector.select(max(0.0, self._deadline - time.monotonic())):
                    raise TimeoutError
                count = os.readv(self._answers.fileno(), [view[got:]])
                if not count:
                    raise EOFError
                got += count


_lock = threading.RLock()
_child: _Child | None = None
_possible = os.name == "posix" and "python" in os.path.basename(sys.executable or "").lower()


def _started() -> _Child | None:
    global _child, _possible
    if _child is None and _possible:
        try:
            _child = _Child()
        except (OSError, EOFError, TimeoutError):
            _possible = False
    return _child


def _forget() -> None:
    global _child
    _child = None


def _after_fork() -> None:
    """A forked process starts its own decoder process: that of the parent may be in the middle of an answer."""
    global _lock
    _lock = threading.RLock()
    if _child is not None:
        _child.close_pipes()
    _forget()


def _stop() -> None:
    if _child is not None:
        _child.close()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
