"""Batches of single images, from which a model makes pairs, and of label maps, for training an autoencoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.pairs import PairSampler
from acreg.data.sampling.sampler import Batch, Sampler, check_arrays, check_draw
from acreg.errors import AcregError


class ImageSampler(Sampler):
    """Draws batches of single images, from which the model makes pairs; a pure function of (seed, step).

    Arguments:
        images: `(subjects, *spatial, channels)`, kept as float32.
        labels: integers `(subjects, *spatial, 1)`, kept as int32, or None where no labels exist.
        spacings: `(subjects, rank)` in mm, kept as float32.
        batch_size: images in a batch.
        seed: not negative.
        pairs: a sampler whose pairs are added to each batch; None for none.

    Raises:
        AcregError: no subject, shapes that do not match, or labels that are not integers.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None,
        spacings: np.ndarray,
        batch_size: int,
        seed: int,
        pairs: PairSampler | None = None,
    ) -> None:
        super().__init__(images, labels, batch_size, seed)
        if len(images) < 1 or spacings.shape != (len(images), images.ndim - 2):
            raise AcregError(
                "Pairs are made of one image or more, each with a spacing for each axis. "
                f"Received: images.shape={images.shape}, spacings.shape={spacings.shape}."
            )
        self.spacings = np.ascontiguousarray(spacings, np.float32)
        self.pairs = pairs

    def batch(self, step: int) -> Batch:
        """The batch of training step `step`.

        Returns:
            `image` float32 `(batch, *spatial, channels)`, `spacing` float32 `(batch, rank)` and, with labels, `labels`
            int32 `(batch, *spatial, 1)`; and the entries of `pairs`.
        """
        chosen = np.random.default_rng([self.seed, step, 1]).integers(0, len(self.images), self.batch_size)
        result: Batch = {"image": self.images[chosen], "spacing": self.spacings[chosen]}
        if self.labels is not None:
            result["labels"] = self.labels[chosen]
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

    def __init__(self, labels: np.ndarray, batch_size: int, seed: int, augment: Augmentation | None = None) -> None:
        check_arrays(None, labels)
        check_draw(batch_size, seed)
        if len(labels) < 1:
            raise AcregError("An autoencoder needs label maps. Received: 0 subjects. Put subjects into the split.")
        self.labels = np.ascontiguousarray(labels, np.int32)
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
