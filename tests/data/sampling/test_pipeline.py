import subprocess
import sys

import keras
import numpy as np
import pytest

from acreg.data import Augmentation, KerasPairs, LabelSampler, PairSampler, label_batches, tf_pairs
from acreg.errors import AcregError

needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data needs TensorFlow")


def make_sampler(shape=(8, 10), augment=True):
    rng = np.random.default_rng(0)
    images = rng.random((6, *shape, 1), dtype=np.float32)
    labels = rng.integers(0, 3, (6, *shape, 1), dtype=np.int32)
    return PairSampler(images, labels, 4, 5, Augmentation(gamma=0.2, noise=0.1, rotation=0.2) if augment else None)


def assert_same(first, second):
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@needs_tensorflow
@pytest.mark.parametrize("shape", [(8, 10), (4, 6, 5)])
@pytest.mark.parametrize("start", [0, 7])
def test_batch_k_is_the_samplers_batch_start_plus_k(shape, start):
    sampler = make_sampler(shape)
    dataset = tf_pairs(sampler, start=start, steps=5)
    assert len(dataset) == 5
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == 5
    for k, batch in enumerate(batches):
        assert_same(batch, sampler.batch(start + k))


@needs_tensorflow
@pytest.mark.parametrize("workers", [2, 8])
def test_workers_change_neither_the_batches_nor_their_order(workers):
    sampler = make_sampler()
    for step, batch in enumerate(tf_pairs(sampler, steps=30, workers=workers).as_numpy_iterator()):
        assert_same(batch, sampler.batch(step))


@needs_tensorflow
def test_shapes_and_types_are_known_before_a_batch_is_drawn():
    spec = tf_pairs(make_sampler()).element_spec
    assert set(spec) == {"moving", "fixed", "moving_labels", "fixed_labels"}
    for name, tensor in spec.items():
        assert tuple(tensor.shape) == (4, 8, 10, 1)
        assert tensor.dtype.name == ("int32" if name.endswith("labels") else "float32")


@needs_tensorflow
def test_without_steps_there_is_no_end():
    sampler = make_sampler()
    dataset = tf_pairs(sampler, start=3)
    assert int(dataset.cardinality()) == -1
    for k, batch in zip(range(4), dataset.as_numpy_iterator()):
        assert_same(batch, sampler.batch(3 + k))


@needs_tensorflow
def test_label_batches_follow_their_sampler():
    labels = make_sampler().labels
    sampler = LabelSampler(labels, 3, 2)
    dataset = label_batches(labels, 3, seed=2, start=1, steps=3)
    assert tuple(dataset.element_spec.shape) == (3, 8, 10, 1)
    for k, batch in enumerate(dataset.as_numpy_iterator()):
        np.testing.assert_array_equal(batch, sampler.batch(1 + k))


@pytest.mark.parametrize("workers", [1, 3])
def test_keras_pairs_count_from_their_start_without_end(workers):
    sampler = make_sampler()
    pairs = KerasPairs(sampler, start=2, workers=workers)
    assert pairs.num_batches is None
    assert_same(pairs[0], sampler.batch(2))
    pairs.on_epoch_end()
    for index in (5, 6, 6, 0):  # Keras asks for the first batch twice
        assert_same(pairs[index], sampler.batch(2 + index))


class Recorder(keras.Model):
    """A model that is trained by batches and keeps the mean of the fixed image of each."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return inputs["moving"] * self.scale

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.seen.append(float(keras.ops.convert_to_numpy(x["fixed"]).mean()))
        return keras.ops.mean(keras.ops.square(y_pred - x["fixed"]))


@needs_tensorflow
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", [tf_pairs, KerasPairs])
def test_fit_sees_the_batches_in_order_over_epochs(kind, workers):
    sampler = make_sampler()
    model = Recorder()
    model.compile("sgd", run_eagerly=True)
    data = kind(sampler, start=1, workers=workers)
    model.fit(data, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0)
    expected = [sampler.batch(step)["fixed"].mean() for step in range(1, 7)]
    np.testing.assert_allclose(model.seen, expected, rtol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("wrong", [{"start": -1}, {"steps": 0}])
def test_wrong_steps_are_refused(wrong):
    with pytest.raises(AcregError, match="at least one step"):
        tf_pairs(make_sampler(), **wrong)
    with pytest.raises(AcregError, match="one worker or more. Received: workers=0"):
        KerasPairs(make_sampler(), workers=0)


ENDS = """
import numpy as np
from acreg.data import Augmentation, PairSampler, tf_pairs

images = np.random.default_rng(0).random((2, 64, 64, 64, 1), np.float32)
sampler = PairSampler(images, None, 1, 0, Augmentation(rotation=0.1, elastic=0.02, noise=0.1))
batches = iter(tf_pairs(sampler, workers=2))
next(batches)
print("last line")
"""


@needs_tensorflow
def test_a_program_ends_while_its_dataset_makes_batches():
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "last line\n"


def test_importing_acreg_data_is_cheap_and_under_one_name_only():
    code = "import sys, acreg.data; print(*({'tensorflow', 'keras', 'scipy', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_another_name_is_refused(monkeypatch):
    import importlib.util

    import acreg.data

    spec = importlib.util.spec_from_file_location("data", acreg.data.__file__)
    with pytest.raises(ImportError, match="must be imported as acreg.data. Received: data"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_exports_exist():
    import acreg.data

    for name in acreg.data.__all__:
        assert getattr(acreg.data, name).__name__.rpartition(".")[2] == name  # a class, a function or a sub-package
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = acreg.data.nothing
