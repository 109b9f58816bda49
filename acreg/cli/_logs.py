"""Keeps the log lines of TensorFlow, Keras and absl off the terminal."""

from __future__ import annotations

import importlib.abc
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

# Set before a framework is imported; a value that the user has set stays.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # errors only, of TensorFlow's C++ part
    "MPLBACKEND": "Agg",  # pictures go to files: no display is needed
}


def set_environment() -> None:
    """Set the environment variables that the frameworks read when they are imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def silence_frameworks() -> None:
    """Show errors only: of the Python loggers of absl and TensorFlow, and of what TensorFlow 2.20 and later print while
    they are imported.

    The latter (on CPU features and absent CUDA drivers) is written before TensorFlow reads ``TF_CPP_MIN_LOG_LEVEL``.
    """
    try:
        from absl import logging as absl_logging
    except ImportError:  # comes with Keras; `acreg doctor` must run without it
        pass
    else:
        absl_logging.set_verbosity(absl_logging.ERROR)
    # Its warning of "retracing" is for those who make a function again and again, not for several models in a process.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _SilentTensorFlow) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SilentTensorFlow())


class _SilentTensorFlow(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as usual, and lets its import run with stderr set aside."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _SilentLoader(spec.loader)
        return spec


class _SilentLoader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # TensorFlow's own code may ask its module for the loader.
        module.__loader__ = self.loader
        with _stderr_aside():
            self.loader.exec_module(module)


@contextmanager
def _stderr_aside() -> Iterator[None]:
    """Keep what is written to file descriptor 2; show it only if the block raises."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        saved = os.dup(2)
        os.dup2(kept.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                kept.seek(0)
                os.write(2, kept.read())
