"""Fixtures for data that lie outside of the project, and the settings that all tests share."""

from __future__ import annotations

import gc
import os
import random
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

import numpy as np
import pytest
from playwright.sync_api import Browser

from acreg.data.phantoms.chests import make_dataset
from acreg.evaluation import MethodResult, PairScores
from acreg.geometry import Transform
from tests.browser import chromium
from tests.kernel import Outputs

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: at the end, no worker waits for another's long file."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The same initial weights in each run, for the test and the fixtures that it is the first to ask for.

    Keras draws the seeds of its initializers from `random`. Of untrained networks some are constant (all units of a
    narrow ReLU layer are off), and a test that compares two outputs of such a network fails.
    """
    random.seed(0)
    np.random.seed(0)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """TensorFlow runs its functions eagerly: a training of a few steps takes less time than tracing one.

    For tests of whole commands; those of models and of `acreg.training` train in compiled functions, as users do.
    """
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module", autouse=True)
def _forget_graphs() -> Iterator[None]:
    """Let go of the models that the tests of a module trained.

    TensorFlow keeps what computes a custom gradient, and with it the graph of each training step, in a registry without
    end. It is asked only while a graph is made.
    """
    yield
    ops = sys.modules.get("tensorflow.python.framework.ops")
    known = {} if ops is None else ops.gradient_registry._registry
    forgotten = [name for name in known if name.startswith("CustomGradient-")]
    for name in forgotten:
        del known[name]
    if forgotten:
        gc.collect()
        gc.freeze()  # what is left, the libraries above all, takes a second at each further collection


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for `tests.browser.opened`."""
    with chromium() as started:
        yield started


def _prepared(name: str) -> Path | None:
    """The folder ``name`` in the one that ACREG_DATA names, if it is there."""
    value = os.environ.get("ACREG_DATA")
    folder = Path(value) / name if value else None
    return folder if folder is not None and folder.is_dir() else None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outputs]:
    """The outputs of a notebook in whose kernel the test runs, as it seems."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.kernel = None  # what tells a kernel from a terminal
    outputs = Outputs()
    monkeypatch.setattr(shell.display_pub, "publish", outputs.publish)
    yield outputs
    InteractiveShell.clear_instance()


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


class Shift:
    """Moves by a constant, and can fail on some calls (the first call is the warm-up)."""

    def __init__(self, name="shift", by=(1.0, 0.0), fail_on=()):
        self.name, self.by, self.fail_on, self.calls = name, by, fail_on, 0

    def register(self, fixed, moving):
        self.calls += 1
        if self.calls - 1 in self.fail_on:
            raise RuntimeError("did not\nconverge")
        return Transform.between_extents(fixed.grid, moving.grid, np.full((*fixed.grid.shape, 2), self.by, np.float32))


@pytest.fixture
def shift():
    return Shift


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("phantoms"), subjects=20, shape=(48, 40), seed=1)


LABELS = {1: "left lung", 2: "heart"}


def make_result(name, dsc, failed=(), **summary):
    """A method whose pair i has Dice `dsc[i]` on both labels, and distances that follow from it."""
    pairs = []
    for index, value in enumerate(dsc):
        key = (f"s{index}", f"s{index + 1}")
        if index in failed:
            pairs.append(PairScores(*key, failure="RuntimeError: <b>no & no</b>"))
            continue
        scores = {
            "dsc": value,
            "hd": 40 * (1 - value),
            "hd95": 30 * (1 - value),
            "assd": 10 * (1 - value),
            "tre": 1 - value,
        }
        labels = {label: dict(scores) for label in LABELS}
        pairs.append(PairScores(*key, labels, ncc=0.9, ssim=0.8, folded_percent=0.5, sd_log_j=0.3, seconds=0.01))
    dataset = {"name": "lungs", "split": "test", "unit": "mm", "folder": "/nowhere"}
    return MethodResult(name, dict(LABELS), pairs, {"registers": name != "unregistered", "dataset": dataset, **summary})


@pytest.fixture
def make():
    return make_result


@pytest.fixture
def two(make):
    rng = np.random.default_rng(0)
    base = rng.uniform(0.6, 0.8, 12)
    return [make("better", base + rng.uniform(0.05, 0.1, 12)), make("unregistered", base)]
