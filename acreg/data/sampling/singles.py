"""Batches of single images, to segment or to make pairs of, and of label maps, for training an autoencoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.pairs import PairSampler
from acreg.data.sampling.sampler import Batch, Sampler, check_arrays, check_augmented, check_draw, kept
from acreg.data.stored_array import Voxels
from acreg.errors import AcregError


class ImageSampler(Sampler):
    """Draws batches of single images, which the model segments or makes pairs of; a pure function of (seed, step).

    Arguments:
        images: `(subjects, *spatial, channels)`, kept as float32.
        labels: integers `(subjects, *spatial, 1)`, kept as int32, or None where no labels exist.
        spacings: `(subjects, rank)` in mm, kept as float32.
        batch_size: images in a batch.
        seed: not negative.
        pairs: a sampler whose pairs are added to each batch; None for none.
        augment: None for no augmentation.

    Raises:
        AcregError: no subject, shapes that do not match, labels that are not integers, or augmentation of images
            `as_stored`.
    """

    def __init__(
        self,
        images: Voxels,
        labels: Voxels | None,
        spacings: np.ndarray,
        batch_size: int,
        seed: int,
        pairs: PairSampler | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(images, labels, batch_size, seed)
        if len(images) < 1 or spacings.shape != (len(images), images.ndim - 2):
            raise AcregError(
                "A batch is drawn from one image or more, each with a spacing for each axis. "
                f"Received: images.shape={images.shape}, spacings.shape={spacings.shape}."
            )
        check_augmented(self.images, augment)
        self.spacings = np.ascontiguousarray(spacings, np.float32)
        self.pairs = pairs
        self.augment = augment

    def batch(self, step: int) -> Batch:
        """The batch of training step `step`.

        Returns:
            `image` float32 `(batch, *spatial, channels)`, `spacing` float32 `(batch, rank)` and, with labels, `labels`
            int32 `(batch, *spatial, 1)`; and the entries of `pairs`.
        """
        rng = np.random.default_rng([self.seed, step, 1])
        chosen = rng.integers(0, len(self.images), self.batch_size)
        images, labels = self.images[chosen], None if self.labels is None else self.labels[chosen]
        if self.augment is not None:
            images, labels = self.augment.apply(images, labels, rng)
        result: Batch = {"image": images, "spacing": self.spacings[chosen]}
        if labels is not None:
            result["labels"] = labels
        return result if self.pairs is None else {**result, **self.pairs.batch(step)}


class LabelSampler:
    """Draws batches of label maps, for training an autoencoder; a pure function of (seed, step) like `PairSampler`.

    Arguments:
        labels: integers `(subjects, *spatial, 1)`, kept as int32.
        batch_size: maps in a batch; subjects are repeated within a batch only if it is larger than their number.
        seed: not negative.
        augment: only its geometric part has an effect; None for no augmentation.

    Raises:
        AcregError: no subject, or labels that are not integers.
    """

    def __init__(self, labels: Voxels, batch_size: int, seed: int, augment: Augmentation | None = None) -> None:
        check_arrays(None, labels)
        check_draw(batch_size, seed)
        if len(labels) < 1:
            raise AcregError("An autoencoder needs label maps. Received: 0 subjects. Put subjects into the split.")
        self.labels = kept(labels, np.int32)
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment

    def batch(self, step: int) -> NDArray[np.int32]:
        """The label maps of training step `step`: int32 `(batch, *spatial, 1)`."""
        rng = np.random.default_rng([self.seed, step])
        rounds = -(-self.batch_size // len(self.labels))
        order = np.concatenate([rng.permutation(len(self.labels)) for _ in range(rounds)])
        labels = self.labels[order[: self.batch_size]]
        return labels if self.augment is None else self.augment.move_labels(labels, rng)
