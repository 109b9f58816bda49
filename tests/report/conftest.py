import numpy as np
import pytest

from acreg.evaluation import MethodResult, PairScores

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
