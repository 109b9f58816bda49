"""What compiled programs print, kept off the terminal."""

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
    """Collect all that the process prints to its two output streams, from Python or below; `kept` gets the lines.

    Programs in C++ write to the file descriptors, past `sys.stdout`. So it is these that are turned to a file, and
    threads that print meanwhile (a progress bar) are caught as well. `sys.stdout` is turned too, since in a notebook it
    leads elsewhere.
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
    """Empty the buffers of Python and of the C library."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).fflush(None)
