"""Capture of the output of compiled programs, so that it does not reach the terminal."""

from __future__ import annotations

import ctypes
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def captured(kept: list[str]) -> Iterator[None]:
    """Collect everything that the process prints to its two output streams, from Python or native code, in `kept`.

    Programs in C++ write to the file descriptors and bypass `sys.stdout`. So the descriptors are redirected to a file,
    and the output of other threads (a progress bar) is also captured. `sys.stdout` is redirected as well, because in a
    notebook it is not connected to the descriptor.
    """
    _flush()
    saved = [os.dup(stream) for stream in (1, 2)]
    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
            try:
                with redirect_stdout(text), redirect_stderr(text):
                    yield
            finally:
                _flush()
                for number, stream in zip(saved, (1, 2)):
                    os.dup2(number, stream)
                file.seek(0)
                kept += [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
                text.detach()
    finally:
        for number in saved:
            os.close(number)


def _flush() -> None:
    """Flush the buffers of Python and of the C library."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).fflush(None)
