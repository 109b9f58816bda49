"""Standard streams that are closed, broken or lack characters: a command does its work all the same."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


class _Output(io.FileIO):
    """A stream whose reader may have exited, as `head` does: further output is then dropped.

    Any other error, such as a full disk, is raised once.
    """

    failed = False

    def write(self, data: Any) -> int:
        if self.failed:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            self.failed = True
            return len(data)
        except OSError as error:
            self.failed = True
            raise OSError(error.errno, error.strerror, "what the command prints") from error


def mend() -> None:
    """Open closed standard streams on the null device, and let output continue when its reader has exited.

    The next file to be opened would otherwise take the number of a closed stream, and C libraries would print into it.
    Characters that the console's encoding lacks are shown as `\\xe4` and the like.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout, sys.stderr = _writer(1, sys.stdout), _writer(2, sys.stderr)


def _writer(number: int, before: TextIO | None) -> TextIO:
    if before is not None:
        before.flush()
    raw = io.BufferedWriter(_Output(number, "wb", closefd=False))
    encoding = "utf-8" if before is None else before.encoding
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)
