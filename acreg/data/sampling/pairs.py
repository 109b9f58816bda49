"""Random pairs of subjects: batches for training and fixed lists for validation and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from acreg._moved import forward
from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.sampler import Batch, Sampler, check_augmented
from acreg.data.stored_array import Voxels
from acreg.errors import AcregError

__getattr__ = forward(__name__, "acreg.data.sampling.singles")


class PairSampler(Sampler):
    """Draws batches of random pairs of different subjects.

    Arguments:
        images: `(subjects, *spatial, channels)`, an array, kept as float32, in [0, 1] if `augment` is given; or a
            `StoredArray`.
        labels: integers `(subjects, *spatial, 1)`, an array, kept as int32, or a `StoredArray`; None where no labels
            exist.
        batch_size: pairs in a batch.
        seed: not negative.
        augment: applied to the moving and to the fixed image independently; None for no augmentation.
        augment_moving: applied to the moving image alone, after `augment`; None for no augmentation. Moving labels from
            outside the image are background.

    Raises:
        AcregError: fewer than two subjects, shapes that do not match, labels that are not integers, or augmentation of
            images `as_stored`.
    """

    def __init__(
        self,
        images: Voxels,
        labels: Voxels | None,
        batch_size: int,
        seed: int,
        augment: Augmentation | None = None,
        augment_moving: Augmentation | None = None,
    ) -> None:
        super().__init__(images, labels, batch_size, seed)
        if len(images) < 2:
            raise AcregError(
                f"A pair needs two subjects. Received: {len(images)} subject(s). Put more subjects into the split."
            )
        check_augmented(self.images, augment, augment_moving)
        self.augment = augment
        self.augment_moving = augment_moving

    def batch(self, step: int) -> Batch:
        """The batch of training step `step` (0, 1, ...), which is the same in every call.

        Returns:
            `moving` and `fixed` float32 `(batch, *spatial, channels)`, and with labels `moving_labels` and
            `fixed_labels` int32 `(batch, *spatial, 1)`; of a `StoredArray.as_stored`, uint16 and uint8 or uint16, which
            a `RegistrationModel` decodes.
        """
        rng = np.random.default_rng([self.seed, step])
        subjects, size = len(self.images), self.batch_size
        fixed = rng.integers(0, subjects, size)
        moving = (fixed + rng.integers(1, subjects, size)) % subjects
        chosen = np.concatenate([moving, fixed])
        images = self.images[chosen]
        labels = None if self.labels is None else self.labels[chosen]
        if self.augment is not None:
            images, labels = self.augment.apply(images, labels, rng)
        moving_images, moving_labels = images[:size], None if labels is None else labels[:size]
        if self.augment_moving is not None:
            moving_images, moving_labels = self.augment_moving.apply(moving_images, moving_labels, rng, outside=0)
        result = {"moving": moving_images, "fixed": images[size:]}
        if labels is not None and moving_labels is not None:
            result |= {"moving_labels": moving_labels, "fixed_labels": labels[size:]}
        return result


class VelocitySampler(Sampler):
    """Draws batches of pairs whose velocity is known; a pure function of (seed, step) like `PairSampler`.

    Arguments:
        images: `(subjects, *spatial, channels)`, kept as float32.
        labels: integers `(subjects, *spatial, 1)`, kept as int32, or None where no labels exist.
        velocities: `(*spatial, rank)` in voxels by the positions (fixed, moving) of each pair.
        batch_size: pairs in a batch.
        seed: not negative.
        max_shift: largest number of voxels along each axis by which both images, their labels and their velocity are
            translated together; new voxels at the border repeat the edge. None for no translation.

    Raises:
        AcregError: no pair, shapes that do not match, labels that are not integers, or an invalid shift.
    """

    def __init__(
        self,
        images: Voxels,
        labels: Voxels | None,
        velocities: Mapping[tuple[int, int], np.ndarray],
        batch_size: int,
        seed: int,
        max_shift: Sequence[int] | None = None,
    ) -> None:
        super().__init__(images, labels, batch_size, seed)
        spatial = images.shape[1:-1]
        wrong = [pair for pair, velocity in velocities.items() if velocity.shape != (*spatial, len(spatial))]
        if wrong or not velocities:
            raise AcregError(
                f"Velocities lie on the grid of the images, {spatial}. Received: {len(velocities)} velocities, "
                f"{f'such as one of shape {velocities[wrong[0]].shape}' if wrong else 'so nothing to learn'}. Set "
                "data.shape to the size of the images that they were made on."
            )
        shift = tuple(max_shift or (0,) * len(spatial))
        if len(shift) != len(spatial) or min(shift) < 0 or any(s >= n for s, n in zip(shift, spatial, strict=True)):
            raise AcregError(
                f"A shift is a number of voxels for each axis, from 0 to less than the size. Received: {list(shift)} "
                f"for images of {spatial}."
            )
        self.velocities = dict(velocities)
        self.max_shift = shift
        self._pairs = sorted(velocities)

    def batch(self, step: int) -> Batch:
        """The batch of training step `step`.

        Returns:
            The entries of `PairSampler.batch`, and `velocity` float32 `(batch, *spatial, rank)`.
        """
        rng = np.random.default_rng([self.seed, step])
        chosen = [self._pairs[i] for i in rng.integers(0, len(self._pairs), self.batch_size)]
        fixed, moving = np.array(chosen).T
        result: Batch = {
            "moving": self.images[moving],
            "fixed": self.images[fixed],
            "velocity": np.stack([self.velocities[pair] for pair in chosen]).astype(np.float32),
        }
        if self.labels is not None:
            result |= {"moving_labels": self.labels[moving], "fixed_labels": self.labels[fixed]}
        if any(self.max_shift):
            limits = np.array(self.max_shift)
            shifts = rng.integers(-limits, limits + 1, (self.batch_size, len(limits)))
            result = {
                name: np.stack([_shifted(x, shift) for x, shift in zip(values, shifts, strict=True)])
                for name, values in result.items()
            }
        return result


def _shifted(array: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """`(*spatial, channels)`, translated by whole voxels along each spatial axis."""
    for axis, by in enumerate(shift):
        array = array.take(np.clip(np.arange(array.shape[axis]) - by, 0, array.shape[axis] - 1), axis)
    return array


def fixed_pairs(subjects: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """A reproducible list of `count` pairs (fixed, moving) of subject names, for validation and evaluation.

    A subject is never paired with itself; no ordered pair is repeated before all n * (n - 1) have been used.

    Raises:
        AcregError: fewer than two subjects, a name given twice, or a negative count or seed.
    """
    names = list(subjects)
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise AcregError(f"Subjects must differ. Received twice: {', '.join(twice)}. Name each subject once.")
    if len(names) < 2:
        raise AcregError(f"A pair needs two subjects. Received: {len(names)} subject(s).")
    if count < 0 or seed < 0:
        raise AcregError(f"count and seed must not be negative. Received: count={count}, seed={seed}.")
    others = len(names) - 1
    distinct = len(names) * others
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(distinct)[: count - done] for done in range(0, count, distinct)]
    pairs = []
    for index in np.concatenate(rounds) if rounds else ():
        fixed, offset = divmod(int(index), others)
        pairs.append((names[fixed], names[(fixed + 1 + offset) % len(names)]))
    return pairs
