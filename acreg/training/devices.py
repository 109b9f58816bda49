"""Training on all devices of a machine: a part of each batch on each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from acreg.errors import UsageError
from acreg.training.schema import Recipe


def devices() -> list[str]:
    """The names of the GPUs that the backend sees, or of its CPUs where there is no GPU.

    Raises:
        UsageError: a backend other than TensorFlow and JAX.
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
    """Refuse a recipe whose batches do not divide into equal parts.

    Unequal parts would weigh their images unequally, in the gradient and in what is logged.

    Raises:
        UsageError: which number is no multiple of the number of devices.
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
    """A model that is made and trained inside divides each of its batches over all `devices`.

    Its loss is the mean over the whole batch, and its gradient that loss's. On TensorFlow give the model to
    `synchronise`, too.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(devices()).scope():
            yield
    else:
        with keras.distribution.DataParallel(devices=devices()).scope():
            yield


def synchronise(model: keras.Model) -> None:
    """Let batch normalisation see the whole batch and not a device's part; on JAX it does so by itself."""
    if keras.backend.backend() == "tensorflow":
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
