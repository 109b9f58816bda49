"""Checks that a model is trained only with its own labels: integers from 0 to `num_classes` - 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.errors import AcregError


class ChecksLabels:
    """`fit` and `evaluate` that check the given labels once; a mix-in for models with `num_classes`.

    They check all labels of arrays and of acreg's samplers, the first batch of other datasets, and none of a generator;
    the loss is NaN if a later batch has a label that the model does not have (`unknown_labels`).
    """

    num_classes: Any

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`.

        Raises:
            AcregError: labels that are not integers from 0 to ``num_classes - 1``.
        """
        check_labels(x, self.num_classes)
        check_labels(kwargs.get("validation_data"), self.num_classes)
        return super().fit(x, *args, **kwargs)  # type: ignore[misc]

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; errors as `fit`."""
        check_labels(x, self.num_classes)
        return super().evaluate(x, *args, **kwargs)  # type: ignore[misc]


def check_labels(x: Any, num_classes: int | None) -> None:
    """Refuse training data with labels that a model does not have, see `ChecksLabels`.

    Raises:
        AcregError: labels that are not integers from 0 to ``num_classes - 1``.
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


def unknown_labels(labels: Any, num_classes: int) -> Any:
    """NaN if one of the integer labels is not a class of the model, so that its one-hot would be empty; otherwise 0."""
    return ops.where(ops.any((labels < 0) | (labels >= num_classes)), float("nan"), 0.0)


def _labels_of(x: Any) -> Iterator[tuple[str, Any]]:
    """Label maps by name, for all inputs that `fit` accepts."""
    sampler = getattr(x, "sampler", None)
    while sampler is not None:
        if getattr(sampler, "labels", None) is not None:
            yield "labels", sampler.labels
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
