"""What samplers have in common: they check and keep arrays, and their draws depend only on a seed and a step.

A batch is a pure function of (seed, step): no state is kept between calls, so training that resumes at step n
draws the same batches as uninterrupted training.
"""

from __future__ import annotations

import numpy as np

from acreg.data.sampling.augmentation import Augmentation
from acreg.data.stored_array import StoredArray, Voxels
from acreg.errors import AcregError

Batch = dict[str, np.ndarray]


class Sampler:
    """Images, optionally with labels, from which batches are drawn.

    Arguments:
        images: `(subjects, *spatial, channels)`, an array, kept as float32, or a `StoredArray`.
        labels: integers `(subjects, *spatial, 1)`, an array, kept as int32, or a `StoredArray`; None if there are none.
        batch_size: number of items in a batch.
        seed: not negative.

    Raises:
        AcregError: shapes that do not match, labels that are not integers, an empty batch, or a negative seed.
    """

    def __init__(self, images: Voxels, labels: Voxels | None, batch_size: int, seed: int) -> None:
        check_arrays(images, labels)
        check_draw(batch_size, seed)
        self.images = kept(images, np.float32)
        self.labels = None if labels is None else kept(labels, np.int32)
        self.batch_size = batch_size
        self.seed = seed


def kept(array: Voxels, dtype: type[np.generic]) -> Voxels:
    """The array as a sampler keeps it: of that type, which a `StoredArray` has."""
    return array if isinstance(array, StoredArray) else np.ascontiguousarray(array, dtype)


def check_augmented(images: Voxels, *augment: Augmentation | None) -> None:
    if images.dtype.kind == "u" and any(augment):
        raise AcregError(
            f"Augmentation in NumPy changes images in [0, 1]. Received: images as they are stored, {images.dtype}. "
            "Give the decoded images, or augment in the model, by its image_augmentation."
        )


def check_arrays(images: Voxels | None, labels: Voxels | None) -> None:
    for name, array in (("images", images), ("labels", labels)):
        if array is not None and array.ndim not in (4, 5):
            raise AcregError(
                f"{name} must have shape (subjects, *spatial, channels) in 2-D or 3-D. "
                f"Received: {name}.shape={array.shape}. Add the axis that is missing."
            )
    if labels is not None and labels.dtype.kind not in "iu":
        raise AcregError(f"labels must be integers. Received: labels.dtype={labels.dtype}. Convert them to int32.")
    if labels is not None and labels.shape[-1] != 1:
        raise AcregError(
            "labels must have one channel, (subjects, *spatial, 1). "
            f"Received: labels.shape={labels.shape}. Give label numbers, not one-hot maps."
        )
    # the labels of a `StoredArray` are ids
    if isinstance(labels, np.ndarray) and labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        raise AcregError(
            "labels must be numbers of classes, 0 or more, the background being 0. "
            f"Received: labels from {labels.min()} to {labels.max()}. Number the labels of the dataset from 1 on."
        )
    if images is not None and labels is not None and images.shape[:-1] != labels.shape[:-1]:
        raise AcregError(
            "images and labels must have the same subjects and spatial shape. "
            f"Received: images.shape={images.shape}, labels.shape={labels.shape}. Resize one to the other's grid."
        )


def check_draw(batch_size: int, seed: int) -> None:
    if batch_size < 1:
        raise AcregError(f"batch_size must be at least 1. Received: batch_size={batch_size}.")
    if seed < 0:
        raise AcregError(f"seed must not be negative. Received: seed={seed}.")
