"""Checks that a model is trained only with its own labels: integers from 0 to `num_classes` - 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.errors import AcregError
from acreg.layers import functional
from acreg.layers.tensor import Tensor


def check_labels(x: Tensor, num_classes: int | None) -> None:
    """Refuse training data whose labels are not those of a model, see `acreg.models.preset_model.PresetModel`.

    Raises:
        AcregError: labels are not integers from 0 to ``num_classes - 1``.
    """
    if not num_classes:
        return
    for name, labels in _labels_of(x):
        array = np.asarray(ops.convert_to_numpy(labels))
        whole = array.dtype.kind in "iu"
        if array.size and not (whole and array.min() >= 0 and array.max() < num_classes):
            found = f"{array.min()} to {array.max()}" if whole else f"an array of {array.dtype}"
            raise AcregError(
                f"The labels of a model with num_classes={num_classes} are integers from 0 to {num_classes - 1}. "
                f"Received: {name} with {found}. Number them, for example by np.searchsorted(values, labels) with all "
                "values of the dataset in ascending order, or correct num_classes."
            )


def unknown_labels(labels: Tensor, num_classes: int) -> Tensor:
    """NaN if one of the integer labels is not a class of the model, so that its one-hot would be empty; otherwise 0."""
    return ops.where(ops.any((labels < 0) | (labels >= num_classes)), float("nan"), 0.0)


def one_hot_of(labels: Tensor, num_classes: int | None) -> Tensor:
    """Integer labels ``(batch, *spatial, 1)`` as float32 ``(batch, *spatial, num_classes)``.

    Raises:
        ValueError: the labels have another type, or more than one channel.
        AcregError: an array (not a tensor) has a label that is not a class.
    """
    if "int" not in keras.backend.standardize_dtype(labels.dtype) or labels.shape[-1] != 1:
        raise ValueError(
            "Labels are integers (batch, *spatial, 1). Received: "
            f"{keras.backend.standardize_dtype(labels.dtype)} of shape {tuple(labels.shape)}"
        )
    if isinstance(labels, np.ndarray):
        check_labels({"labels": labels}, num_classes)
    return ops.one_hot(labels[..., 0], num_classes, dtype="float32")


def unknown_in_pairs(x: Mapping[str, Tensor], num_classes: int) -> Tensor:
    """NaN if a label is not one of the model's, else 0; `ValueError` if labels and images differ in shape."""
    for role in ("moving", "fixed"):
        image, labels = tuple(x[role].shape[1:-1]), tuple(x[f"{role}_labels"].shape[1:-1])
        if None not in (*image, *labels) and image != labels:
            raise ValueError(f"Labels have the shape of their image. Received: {role} {image}, its labels {labels}")
    return sum(unknown_labels(x[f"{role}_labels"], num_classes) for role in ("moving", "fixed"))


def some_labels(x: Mapping[str, Tensor], classes: int, wanted: int, seed: Any) -> dict[str, Tensor]:
    """Labels of some of the classes, drawn at random and numbered from 1; the others are background."""
    order = keras.random.shuffle(ops.arange(1, classes, dtype="int32"), seed=seed)
    new = ops.where(ops.arange(classes - 1) < wanted, ops.arange(1, classes), 0)
    table = ops.scatter(order[:, None], ops.cast(new, "int32"), (classes,))
    return {**x, **{name: ops.take(table, x[name], axis=0) for name in ("moving_labels", "fixed_labels")}}


def warp_one_hot(labels: Tensor, displacement: Tensor) -> Tensor:
    """Warps one-hot labels linearly; outside the moving image is background, as in `Transform.warp_labels`."""
    foreground = functional.warp(labels[..., 1:], displacement, border="constant")
    return ops.concatenate([1.0 - ops.sum(foreground, axis=-1, keepdims=True), foreground], axis=-1)


def _labels_of(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Label maps by name, for all inputs that `fit` accepts."""
    sampler = getattr(x, "sampler", None)
    while sampler is not None:
        if getattr(sampler, "labels", None) is not None:
            whole = isinstance(sampler.labels, np.ndarray)
            yield from (("labels", part) for part in ([sampler.labels] if whole else sampler.labels))
        sampler = getattr(sampler, "pairs", None)
    if getattr(x, "sampler", None) is not None:
        return
    if isinstance(x, keras.utils.PyDataset):
        x = x[0] if x.num_batches is None or x.num_batches else ()
    elif hasattr(x, "element_spec") and hasattr(x, "take"):  # a tf.data.Dataset
        x = next(iter(x.take(1)), ())
    if isinstance(x, (tuple, list)):
        x = x[0] if x else None
    if isinstance(x, Mapping):
        yield from ((name, value) for name, value in x.items() if name.endswith("labels"))
    elif hasattr(x, "shape") and hasattr(x, "dtype") and "int" in keras.backend.standardize_dtype(x.dtype):
        yield "labels", x  # of an autoencoder
