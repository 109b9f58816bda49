"""Fixtures for data that lie outside of the project, and the settings that all tests share."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Before Keras is imported: errors only, and no more threads than a small machine has cores.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# `acreg train` asks for sums in a fixed order, for the whole process; Keras then refuses XLA without a word.
os.environ.setdefault("TF_DETERMINISTIC_OPS", "0")

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="module", autouse=True)
def _forget_graphs() -> Iterator[None]:
    """Let go of the models that the tests of a module trained.

    TensorFlow keeps what computes a custom gradient, and with it the graph of each training step, in a registry without
    end. It is asked only while a graph is made.
    """
    yield
    ops = sys.modules.get("tensorflow.python.framework.ops")
    if ops is not None:
        known = ops.gradient_registry._registry
        for name in [name for name in known if name.startswith("CustomGradient-")]:
            del known[name]
        gc.collect()


def _prepared(name: str) -> Path | None:
    """The folder ``name`` in the one that ACREG_DATA names, if it is there."""
    value = os.environ.get("ACREG_DATA")
    folder = Path(value) / name if value else None
    return folder if folder is not None and folder.is_dir() else None


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """What the original programs computed."""
    folder = SHARED / "reference"
    if not folder.is_dir():
        pytest.skip("the reference arrays (../shared/reference) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: ``chest_montgomery`` and others, each as its source has it."""
    for folder in (SHARED / "data", Path(os.environ.get("ACREG_DATA") or SHARED)):
        if (folder / "chest_montgomery").is_dir():
            return folder
    pytest.skip("real data (chest_montgomery in ../shared/data or in ACREG_DATA) are not on this machine")


@pytest.fixture(scope="session")
def jsrt_dir() -> Path:
    """JSRT, prepared: ``$ACREG_DATA/jsrt``. Its licence forbids to pass it on."""
    folder = _prepared("jsrt")
    if folder is None:
        pytest.skip("JSRT (the folder jsrt in ACREG_DATA) is not on this machine")
    return folder
