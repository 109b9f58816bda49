"""Models in a forked process are refused, where they would wait for ever; a model that registers leaves nothing."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import keras
import numpy as np
import pytest

from acreg.baselines import baseline
from acreg.errors import AcregError
from acreg.io import Image, Preprocessing
from acreg.models import RegNet, from_preset

IMAGES = [Image.from_array(np.random.default_rng(seed).random((16, 16))) for seed in (0, 1)]


def in_a_fork(work: Callable[[], object]) -> int:
    """0 where the work ends, 1 where it is refused, 2 after another error."""
    pid = os.fork()
    if not pid:
        code = 2
        try:
            work()
            code = 0
        except AcregError as error:
            code = 1 if "get_context('spawn')" in str(error) else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_use() -> None:
    model = RegNet(network="unet", filters=(4, 8), preprocessing=Preprocessing(shape=(16, 16)))
    transform = model.register(fixed=IMAGES[0], moving=IMAGES[1])
    batch = {"fixed": np.zeros((1, 16, 16, 1)), "moving": np.zeros((1, 16, 16, 1))}
    for use in (
        lambda: model.register(fixed=IMAGES[0], moving=IMAGES[1]),
        lambda: model.refine(fixed=IMAGES[0], moving=IMAGES[1], steps=1),
        lambda: model(batch),
        lambda: RegNet(network="unet", filters=(4, 8)),
        lambda: from_preset("acregnet-jsrt"),
    ):
        assert in_a_fork(use) == 1
    classical = baseline("sitk:affine")
    classical.register(fixed=IMAGES[0], moving=IMAGES[1])
    both = (lambda: transform.warp_image(IMAGES[1])), (lambda: classical.register(fixed=IMAGES[0], moving=IMAGES[1]))
    assert [in_a_fork(use) for use in both] == [0, 0]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is about TensorFlow's graphs")
def test_a_model_that_registered_leaves_no_graph_behind() -> None:
    from tensorflow.python.framework.func_graph import FuncGraph

    def graphs_after_use() -> int:
        model = RegNet(network="pyramid", filters=(8, 8), preprocessing=Preprocessing(shape=(16, 16)))
        model.register(fixed=IMAGES[0], moving=IMAGES[1])
        del model
        gc.collect()
        return sum(isinstance(each, FuncGraph) for each in gc.get_objects())

    assert graphs_after_use() == graphs_after_use()
