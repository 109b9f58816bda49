"""Pairs made from single 2-D images by a known deformation, for training JRS-Net."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acreg._moved import forward
from acreg.data.sampling.deformation import Deformation, RandomDeformation, check_mask
from acreg.data.sampling.sampler import Batch, Sampler
from acreg.data.stored_array import Voxels
from acreg.errors import AcregError

__getattr__ = forward(__name__, "acreg.data.sampling.deformation")


class DeformedPairSampler(Sampler):
    """Draws batches of images with deformed copies of themselves; a pure function of (seed, step).

    Arguments:
        images: `(subjects, rows, columns, channels)`, kept as float32; fixed.
        labels: integers `(subjects, rows, columns, 1)`, kept as int32, each with some foreground.
        batch_size: pairs in a batch.
        seed: not negative.
        random: the distribution of deformations.

    Raises:
        AcregError: no subject, shapes that do not match, 3-D images, labels that are not integers or have no
            foreground.
    """

    labels: Voxels

    def __init__(
        self,
        images: Voxels,
        labels: Voxels,
        batch_size: int,
        seed: int,
        random: RandomDeformation | None = None,
    ) -> None:
        super().__init__(images, labels, batch_size, seed)
        if len(images) < 1 or images.ndim != 4:
            raise AcregError(
                "Pairs are made of one 2-D image or more, (subjects, rows, columns, channels). "
                f"Received: images.shape={images.shape}."
            )
        for index, mask in enumerate(labels):
            check_mask(mask, f"the labels of subject {index} (from 0)")
        self.random = RandomDeformation() if random is None else random

    def draw(self, step: int) -> list[tuple[int, Deformation]]:
        """The subject and the deformation of each pair of training step `step`."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.integers(0, len(self.images), self.batch_size).tolist()
        return [(subject, self.random.draw(self.labels[subject], rng)) for subject in chosen]

    def batch(self, step: int) -> Batch:
        """The batch of training step `step`.

        Returns:
            `moving` and `fixed` float32 `(batch, rows, columns, channels)`, `moving_labels` and `fixed_labels` int32
            `(batch, rows, columns, 1)`, and `displacement` and `inverse_displacement` float32 `(batch, rows, columns,
            2)`, voxels: from fixed to moving, and from moving to fixed.
        """
        return self.make(self.draw(step))

    def make(self, drawn: Sequence[tuple[int, Deformation]]) -> Batch:
        """The pairs of these subjects and deformations, as `batch` returns them."""
        subjects = [subject for subject, _ in drawn]
        return {
            "moving": np.stack([d.apply(self.images[subject]) for subject, d in drawn]),
            "fixed": self.images[subjects],
            "moving_labels": np.stack([d.apply_labels(self.labels[subject]) for subject, d in drawn]),
            "fixed_labels": self.labels[subjects],
            "displacement": np.stack([d.displacement for _, d in drawn]),
            "inverse_displacement": np.stack([d.inverse_displacement for _, d in drawn]),
        }
