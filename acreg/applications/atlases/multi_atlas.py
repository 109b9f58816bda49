"""Segmentation by the atlases most similar to each image: they are registered to it, and their labels are fused."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from acreg.applications.atlases.label_fusion import Fusion, fused_labels, label_shares
from acreg.data.manifest import Dataset
from acreg.data.subjects import Subjects
from acreg.errors import AcregError, UsageError
from acreg.geometry import resize_image
from acreg.io import Image
from acreg.names import some
from acreg.registration.methods import Method, register_many

Similarity = Literal["ncc", "mutual_information", "mean_squares"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
SIDES = {2: 64, 3: 32}
"""Voxels along each axis of the reduced images, for each number of axes."""
BINS = 32
"""Bins of each image's intensities, for mutual information."""


class ReducedImages:
    """Images reduced to one small cube, to compare another image with all of them at once.

    The whole extent of each image is resized, whatever its shape and spacing, and its intensities are scaled so that
    the 0.5 and 99.5 percentiles become 0 and 1.

    Args:
        images: at least one; all have the same number of axes.

    Raises:
        AcregError: there is no image, or the images differ in their number of axes.
    """

    def __init__(self, images: Iterable[Image]) -> None:
        reduced, ranks = [], set()
        for image in images:
            ranks.add(image.grid.rank)
            reduced.append(_reduced(image.array))
        if len(ranks) != 1:
            raise AcregError(
                "Images to choose from are at least one, all 2-D or all 3-D. Received: "
                f"{len(reduced)} images with {sorted(ranks)} axes. Choose another dataset or split."
            )
        self.rank = ranks.pop()
        self.values = np.stack(reduced)

    def similarities(self, image: Image, measure: Similarity = "ncc") -> NDArray[np.float64]:
        """How similar an image is to each of these images; higher means more similar.

        Args:
            image: an image of any size and spacing.
            measure: ``ncc``, the correlation, from -1 to 1; ``mutual_information`` of 32 x 32 bins, in nats, at least
                0; ``mean_squares``, the negated mean squared difference.

        Returns:
            One number for each of these images.

        Raises:
            UsageError: the measure is unknown.
            AcregError: the image has a different number of axes.
        """
        if measure not in SIMILARITIES:
            raise UsageError(f"A similarity is one of {', '.join(SIMILARITIES)}. Received: {measure!r}.")
        if image.grid.rank != self.rank:
            raise AcregError(
                f"An image is compared with atlases of as many axes. Received: an image with {image.grid.rank}, "
                f"atlases with {self.rank}. Choose atlases of the image's kind."
            )
        target = _reduced(image.array)
        if measure == "mean_squares":
            return -((self.values - target) ** 2).mean(axis=1, dtype=np.float64)
        if measure == "ncc":
            return _standardised(self.values) @ _standardised(target) / target.size
        return _mutual_information(self.values, target)


@dataclass(frozen=True)
class AtlasSegmentation:
    """Result of `segment_by_atlases` for one image.

    Attributes:
        labels: on the image's grid.
        values: the labels that `shares` has, background included.
        shares: how probable each label is at each voxel, float32 ``(len(values), *shape)``, see `label_shares`.
        atlases: the subjects that were used, the most similar one first.
        similarities: similarity of each of them to the image.
    """

    labels: Image
    values: tuple[int, ...]
    shares: NDArray[np.float32]
    atlases: tuple[str, ...]
    similarities: tuple[float, ...]


class Atlases:
    """The labelled subjects of a dataset, from which other images are segmented.

    All are read once; see `Subjects` for what is kept in memory.

    Args:
        dataset: a dataset with labels.
        split: the split whose subjects are used.

    An atlas whose label map lacks a label that others have votes against it; a warning names both. No image has an
    atlas with its own voxels, under whatever name; see `acreg.Image.digest`.

    Raises:
        AcregError: no subject of the split has labels, the images differ in their number of axes, an image and its
            labels differ in size, or a label map has a value that the dataset does not list.
    """

    def __init__(self, dataset: Dataset, split: str = "train") -> None:
        self.dataset = dataset
        self.records = [record for record in dataset.split(split) if record.labels is not None]
        if not self.records:
            raise AcregError(
                f"Atlases are labelled images. Received: the split {split} of {dataset.name}, none of whose "
                "subjects has labels. Choose another split or dataset."
            )
        self._subjects = Subjects(dataset)
        self._contents: dict[str, str] = {}
        there: dict[str, set[int]] = {}

        def read(subject: str) -> Image:
            image, labels = self[subject]
            self._contents[subject] = image.digest
            there[subject] = set(np.unique(labels.array).tolist())
            return image

        self.reduced = ReducedImages(read(record.subject) for record in self.records)
        self._warn_of_absent_labels(there)

    def __getitem__(self, subject: str) -> tuple[Image, Image]:
        """A subject's image and labels."""
        return self._subjects[subject]

    def nearest(
        self, image: Image, count: int, measure: Similarity = "ncc", without: str = ""
    ) -> list[tuple[str, float]]:
        """The most similar subjects with their similarities, best first; ties are in the dataset's order.

        Subjects whose image has the same voxels as `image` are left out.

        Args:
            image: the image to segment.
            count: number of subjects.
            measure: see `ReducedImages.similarities`.
            without: another subject to leave out, such as an earlier visit of the patient.

        Raises:
            UsageError: there are fewer than `count` subjects.
        """
        found, content = self.reduced.similarities(image, measure), image.digest
        left_out = {without, *(subject for subject, each in self._contents.items() if each == content)}
        order = [n for n in np.argsort(-found, kind="stable") if self.records[n].subject not in left_out]
        if not 1 <= count <= len(order):
            raise UsageError(
                f"As many atlases are used as there are, at least one. Received: {count} of {len(order)} of "
                f"{self.dataset.name}, without the image itself. Choose another number."
            )
        return [(self.records[n].subject, float(found[n])) for n in order[:count]]

    def _warn_of_absent_labels(self, there: Mapping[str, set[int]]) -> None:
        for value in sorted(set.union(*there.values()) - {0}):
            lacking = [subject for subject, values in there.items() if value not in values]
            if lacking:
                warnings.warn(
                    f"Atlases have the same labels, as a rule. Received: {self.dataset.name}, where {some(lacking)} "
                    f"of {len(there)} atlases lack {self.dataset.label_names[value]}: they vote against it. See "
                    "`acreg data check`.",
                    stacklevel=4,
                )


def segment_by_atlases(
    images: Sequence[Image],
    atlases: Atlases,
    method: Method,
    count: int = 5,
    measure: Similarity = "ncc",
    fusion: Fusion = "majority",
    without: Sequence[str] = (),
    at_once: int = 1,
) -> list[AtlasSegmentation]:
    """Register the most similar atlases to each image, move their labels onto it and fuse them.

    The image is the fixed one, so that the labels are resampled on its own grid.

    Args:
        images: the images to segment.
        atlases: the atlases to choose from.
        method: the registration method.
        count: number of atlases used for each image.
        measure: how they are chosen, see `ReducedImages.similarities`.
        fusion: see `label_shares`. The weights of ``weighted`` are the similarities or, for ``mean_squares``, the
            inverses of the squared differences.
        without: for each image, another subject that must not be its atlas, or an empty name; see `Atlases.nearest`.
        at_once: pairs of images in one batch through a network; affects speed and memory only.

    Raises:
        UsageError: as `Atlases.nearest`, and for an unknown measure or fusion.
        AcregError: as for reading and registering.

    Source: the AC-RegNet paper, section 5.3 (five atlases of the highest correlation, majority vote).
    """
    left_out = list(without) or [""] * len(images)
    chosen = [atlases.nearest(image, count, measure, name) for image, name in zip(images, left_out, strict=True)]
    pairs = [(image, atlases[subject][0]) for image, found in zip(images, chosen) for subject, _ in found]
    transforms = iter(register_many(method, pairs, at_once))
    values, results = tuple(atlases.dataset.label_values), []
    for image, found in zip(images, chosen):
        maps = [next(transforms).warp_labels(atlases[subject][1]).array for subject, _ in found]
        similarities = np.array([similarity for _, similarity in found])
        weights = 1 / np.maximum(-similarities, 1e-12) if measure == "mean_squares" else similarities
        shares = label_shares(np.stack(maps), values, fusion, weights)
        results.append(
            AtlasSegmentation(
                labels=Image(fused_labels(shares, values, maps[0]), image.grid, kind="labels"),
                values=values,
                shares=shares,
                atlases=tuple(subject for subject, _ in found),
                similarities=tuple(similarities.tolist()),
            )
        )
    return results


def _reduced(array: np.ndarray) -> NDArray[np.float32]:
    small = resize_image(array, (SIDES[array.ndim],) * array.ndim).ravel()
    low, high = np.percentile(small, (0.5, 99.5))
    return ((small - low) / (high - low)).astype(np.float32) if high > low else np.zeros_like(small)


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float64]:
    centred = values - values.mean(axis=-1, keepdims=True, dtype=np.float64)
    deviation = centred.std(axis=-1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)


def _mutual_information(values: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    def bins(x: NDArray[np.float32]) -> NDArray[np.int64]:
        return (np.clip(x, 0, 1) * (BINS - 1)).round().astype(np.int64)

    rows = np.arange(len(values))[:, None] * BINS**2 + bins(values) * BINS + bins(target)
    joint = np.bincount(rows.ravel(), minlength=len(values) * BINS**2).reshape(-1, BINS, BINS) / target.size
    product = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    logarithm = np.log(np.divide(joint, product, out=np.ones_like(joint), where=joint > 0))
    return (joint * logarithm).sum(axis=(1, 2))
