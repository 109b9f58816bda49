"""Batches for `fit`: a sampler of NumPy batches as a `tf.data.Dataset` or a `keras.utils.PyDataset`.

Step n of a pipeline is `batch(n)` of the sampler, however many workers make batches: training that resumes at step n
starts its pipeline there and continues with the same batches. Workers are threads, because nearly all of the time of a
batch is spent in NumPy, which releases Python's lock.
TensorFlow is imported only when a `tf.data.Dataset` is requested.
"""

from __future__ import annotations

import atexit
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np

from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.pairs import PairSampler
from acreg.data.sampling.singles import LabelSampler
from acreg.errors import AcregError

if TYPE_CHECKING:
    import tensorflow as tf

QUIET = 0.2
"""Seconds after which no thread is still on its way from or to a batch of a dataset that nobody reads."""


class Sampler(Protocol):
    """The source of a pipeline: `batch(step)` is a pure function with the same names, shapes and types at each step."""

    def batch(self, step: int) -> Any:
        """The batch of a step: an array, or arrays by name."""
        ...


def _check(start: int, steps: int | None, workers: int) -> None:
    if start < 0 or (steps is not None and steps < 1):
        raise AcregError(
            f"A pipeline starts at step 0 or later and has at least one step. Received: start={start}, steps={steps}."
        )
    if workers < 1:
        raise AcregError(f"A pipeline has one worker or more. Received: workers={workers}.")


class _Draws:
    """The batches that threads of TensorFlow are making, for all datasets.

    When a program ends, Python no longer gives its lock to other threads, and TensorFlow waits for those that wait for
    it: the program would hang. So before that, the batches that were begun are finished, and no others are made.
    """

    def __init__(self) -> None:
        self.over = False
        self._changed = threading.Condition()
        self._running = 0
        self._last = -QUIET

    def __enter__(self) -> None:
        self._change(1)

    def __exit__(self, *_: object) -> None:
        self._change(-1)

    def _change(self, by: int) -> None:
        with self._changed:
            self._running += by
            self._last = time.monotonic()
            self._changed.notify_all()

    def end(self) -> None:
        """Wait until no thread makes a batch or will begin one: those that only fill a buffer are not made any more."""
        self.over = True
        with self._changed:
            while self._running or time.monotonic() < self._last + QUIET:
                self._changed.wait(None if self._running else QUIET)


_draws = _Draws()
atexit.register(_draws.end)


def _tf_batches(sampler: Sampler, start: int, steps: int | None, workers: int = 1) -> tf.data.Dataset:
    import tensorflow as tf

    _check(start, steps, workers)
    example = sampler.batch(start)
    names = sorted(example) if isinstance(example, dict) else None
    arrays: list[np.ndarray] = [example] if names is None else [example[name] for name in names]
    kinds = [(array.shape, array.dtype) for array in arrays]
    del example, arrays

    def draw(step: np.ndarray) -> list[np.ndarray]:
        with _draws:
            if _draws.over:
                return [np.zeros(*kind) for kind in kinds]
            batch = sampler.batch(int(step))
        return [batch] if names is None else [batch[name] for name in names]

    def load(step: tf.Tensor) -> Any:
        tensors = tf.numpy_function(draw, [step], [tf.as_dtype(dtype) for _, dtype in kinds], stateful=False)
        for tensor, (shape, _) in zip(tensors, kinds):
            tensor.set_shape(shape)
        return tensors[0] if names is None else dict(zip(names, tensors))

    counter = tf.data.Dataset.counter(start) if steps is None else tf.data.Dataset.range(start, start + steps)
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    dataset = counter.map(load, num_parallel_calls=workers, deterministic=True).prefetch(2).with_options(options)
    dataset.sampler = sampler  # as in KerasPairs: a model checks its labels before it is fitted
    return dataset


def tf_pairs(
    sampler: PairSampler | Sampler, start: int = 0, steps: int | None = None, workers: int = 1
) -> tf.data.Dataset:
    """The batches `sampler.batch(start)`, `sampler.batch(start + 1)`, ... in order, made while the model trains.

    Arguments:
        sampler: usually a `PairSampler`.
        start: the first step.
        steps: number of batches; None for an endless dataset (then pass `steps_per_epoch` to `fit`).
        workers: number of threads that make batches; the batches do not depend on it.

    Returns:
        A dataset of dictionaries like those of `PairSampler.batch`, with all shapes known.

    Raises:
        AcregError: the start is negative, or there is less than one step or worker.
    """
    return _tf_batches(sampler, start, steps, workers)


def label_batches(
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    augment: Augmentation | None = None,
    start: int = 0,
    steps: int | None = None,
) -> tf.data.Dataset:
    """Random batches of label maps int32 `(batch, *spatial, 1)`, for training an autoencoder.

    Arguments:
        labels: integers `(subjects, *spatial, 1)`.
        batch_size, seed, augment: see `LabelSampler`.
        start, steps: see `tf_pairs`.

    Raises:
        AcregError: see `LabelSampler` and `tf_pairs`.
    """
    return _tf_batches(LabelSampler(labels, batch_size, seed, augment), start, steps)


class KerasPairs(keras.utils.PyDataset):
    """The same batches without TensorFlow: `sampler.batch(start)`, `sampler.batch(start + 1)`, ... without end.

    Pass `steps_per_epoch` to `fit`; each epoch then continues where the previous one ended. It has no length on
    purpose: Keras restarts a dataset with a length in each epoch, by default in an order that does not depend on
    acreg's seeds.

    Arguments:
        sampler: usually a `PairSampler`; a `LabelSampler` works as well.
        start: the step of the first batch.
        workers: number of threads that make the next batches while the model trains; the batches do not depend on it.

    Raises:
        AcregError: the start is negative, or there is no worker.
    """

    def __init__(self, sampler: Sampler, start: int = 0, workers: int = 1) -> None:
        super().__init__()  # not with its own workers: on JAX, Keras 3.15 loses the first batch then
        _check(start, None, workers)
        self.sampler = sampler
        self.start = start
        self._pool = ThreadPoolExecutor(workers)
        self._ahead: dict[int, Future[Any]] = {}
        self._count = workers + 1

    @property
    def num_batches(self) -> None:
        """None, which tells Keras that the dataset is endless."""
        return None

    def __getitem__(self, index: int) -> Any:
        steps = range(self.start + index, self.start + index + self._count)
        begun = self._ahead
        self._ahead = {step: begun.get(step) or self._pool.submit(self.sampler.batch, step) for step in steps}
        return self._ahead[steps[0]].result()
