"""Training on all devices of a machine, with a part of each batch on each device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from acreg.errors import UsageError
from acreg.training.schema import Recipe


def devices() -> list[str]:
    """The names of the GPUs that the backend sees, or of its CPUs if there is no GPU.

    Raises:
        UsageError: the backend is neither TensorFlow nor JAX.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return [d.name for d in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
    if keras.backend.backend() == "jax":
        return keras.distribution.list_devices()
    raise UsageError(
        "training.distribute needs the backend tensorflow or jax. Received: "
        f"{keras.backend.backend()}. Set KERAS_BACKEND, or leave training.distribute out."
    )


def check_division(recipe: Recipe) -> None:
    """Refuse a recipe whose batches cannot be divided into equal parts.

    Unequal parts would weight their images unequally, in the gradient and in the logged numbers.

    Raises:
        UsageError: a number is not a multiple of the number of devices; the message names it.
    """
    count = len(devices())
    for key, value in (
        ("training.batch_size", recipe.training.batch_size),
        ("data.validation_pairs", recipe.data.validation_pairs),
    ):
        if value % count:
            raise UsageError(
                f"With training.distribute, {key} must be a multiple of the number of devices, {count}. Received: "
                f"{value}. Change it, or hide devices from the backend (CUDA_VISIBLE_DEVICES)."
            )


@contextmanager
def divided() -> Iterator[None]:
    """A model that is created and trained inside this context divides each batch over all `devices`.

    Its loss is the mean over the whole batch, and the gradient is that of this loss. On TensorFlow, also pass the model
    to `synchronise`.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(devices()).scope():
            yield
    else:
        with keras.distribution.DataParallel(devices=devices()).scope():
            yield


def synchronise(model: keras.Model) -> None:
    """Make batch normalisation use the whole batch instead of a device's part; on JAX, it does so by default."""
    if keras.backend.backend() == "tensorflow":
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
