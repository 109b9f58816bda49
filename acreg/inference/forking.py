"""Refusal of models in forked processes, where TensorFlow would wait forever."""

from __future__ import annotations

import os

from acreg.errors import AcregError

_process: int | None = None


def check_process() -> None:
    """Remember the process in which the first model is made or used, and refuse models in those forked from it.

    TensorFlow uses threads, and a forked process does not have the threads of its parent.

    Raises:
        AcregError: this process was forked from one in which a model was made or used before.
    """
    global _process
    if _process is None:
        _process = os.getpid()
    elif _process != os.getpid():
        raise AcregError(
            "Models work in the process in which the first of them was made, and in none forked from it. Received: "
            f"process {os.getpid()}, forked from process {_process}. Start processes by "
            "multiprocessing.get_context('spawn'), or make the first model after the fork."
        )
