"""The data of a recipe: its subjects, the training batches, and the fixed validation pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from acreg.data.manifest import Dataset, Record, dataset_folder
from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.deformation import RandomDeformation, check_mask
from acreg.data.sampling.deformed_pairs import DeformedPairSampler
from acreg.data.sampling.pairs import PairSampler, VelocitySampler, fixed_pairs
from acreg.data.sampling.pipeline import Sampler
from acreg.data.sampling.sampler import Batch
from acreg.data.sampling.singles import ImageSampler
from acreg.data.sampling.velocities import check_sources, load_velocities
from acreg.data.stored import StoredSplit, store, subject_bytes
from acreg.data.stored_array import Voxels
from acreg.errors import AcregError, UsageError
from acreg.io import Image, Preprocessing
from acreg.layers import ThinPlateSplineAugmentation
from acreg.progress import Progress, counted
from acreg.training.schema import DataSection, Recipe, SyntheticSection

GIGABYTE = 10**9


@dataclass(frozen=True)
class TrainingData:
    """The training data of a recipe.

    Attributes:
        dataset: the dataset from which they were read.
        preprocessing: the preprocessing of the images.
        train: the union of the training splits.
        validation: the validation split, or None.
        pairs: the validation pairs as (fixed, moving) positions in `validation`; both are equal if a pair is made from
            one image.
        digest: digest of all subjects.
    """

    dataset: Dataset
    preprocessing: Preprocessing
    train: StoredSplit
    validation: StoredSplit | None
    pairs: list[tuple[int, int]]
    digest: str

    @property
    def num_classes(self) -> int | None:
        """Number of labels including the background; None without label files."""
        return None if self.train.labels is None else len(self.preprocessing.label_values)


def load_data(recipe: Recipe, progress: Progress | None = None, cache: Path | None = None) -> TrainingData:
    """Read the dataset of a recipe onto its grid.

    If the subjects need more memory than `data.memory`, an equal share of those for training and for validation is held
    in memory. They are stored in `data.cache`, or else in `cache`; without either, all are held in memory.

    Raises:
        AcregError: the dataset does not exist, or a split has no subjects; see `acreg.data.Dataset`.
        UsageError: there are fewer subjects than `data.train_subjects`.
    """
    section = recipe.data
    dataset = Dataset.load(dataset_folder(section.dataset))
    spacing = section.spacing if section.velocities is None else _stored_spacing(dataset, section.train_splits[0])
    preprocessing = Preprocessing(
        **section.model_dump(include={"shape", "centre", "trim", "window", "intensity"}),
        spacing=spacing,
        label_values=dataset.label_values,
        label_names=dataset.label_names,
    )
    chosen = _train_records(dataset, section)
    if section.intensity == "histogram":
        preprocessing = preprocessing.with_landmarks(_images(dataset, chosen, progress))
    held_out = [] if section.validation_split == "none" else dataset.uniform_split(section.validation_split)
    size = sum(subject_bytes(preprocessing, record.labels is not None) for record in [*chosen, *held_out])
    folder = cache if section.cache is None else Path(section.cache)
    share = 1.0 if folder is None else min(1.0, section.memory * GIGABYTE / size)

    def stored(records: Sequence[Record], split: str) -> StoredSplit:
        held = int(share * len(records))
        return store(dataset, records, preprocessing, held, folder or Path(), f"Reading {split}", progress)

    train = stored(chosen, ", ".join(section.train_splits))
    validation, pairs = None, []
    if section.validation_split != "none":
        validation = stored(held_out, section.validation_split)
        if section.pairs_are_made:
            count = len(validation.subjects)
            pairs = [(i % count, i % count) for i in range(section.validation_pairs)]
            return TrainingData(dataset, preprocessing, train, validation, pairs, _digest([train, validation]))
        if len(validation.subjects) < 2:
            raise AcregError(
                "Validation registers pairs, so its split needs two subjects. Received: "
                f"{len(validation.subjects)} in the split {section.validation_split} of {dataset.folder}. Move "
                "subjects to it in manifest.csv, or train without validation: data.validation_split=none."
            )
        place = {subject: position for position, subject in enumerate(validation.subjects)}
        named = fixed_pairs(validation.subjects, section.validation_pairs, recipe.seed)
        pairs = [(place[fixed], place[moving]) for fixed, moving in named]
    return TrainingData(dataset, preprocessing, train, validation, pairs, _digest([train, validation]))


def _stored_spacing(dataset: Dataset, split: str) -> tuple[float, ...] | None:
    """The spacing of the first image along the axes of the network: velocities are in stored voxels."""
    records = dataset.split(split)
    return dataset.read_image(records[0]).grid.reoriented().spacing if records else None


def image_sampler(recipe: Recipe, data: TrainingData) -> Sampler:
    """The training batches of a segmenter: single images with their labels, augmented."""
    train, section = data.train, recipe.data
    augment = or_none(section.augmentation)
    return ImageSampler(
        train.images, train.labels, train.spacings, recipe.training.batch_size, recipe.seed, augment=augment
    )


def build_sampler(recipe: Recipe, data: TrainingData) -> Sampler:
    """The training batches for the network of a recipe: real pairs, single images, or both."""
    train, section, batch_size = data.train, recipe.data, recipe.training.batch_size
    if section.deformed is not None:
        return _deforming(train, section.deformed, batch_size, recipe.seed)
    real = batch_size if section.synthetic is None else section.synthetic.real_pairs
    in_model = section.augmentation_in == "model"
    augment = None if in_model else or_none(section.augmentation), or_none(section.moving_augmentation)
    images, labels = train.images, train.labels
    if (in_model or section.synthetic is not None) and not any(augment):  # the model changes them, and decodes them
        images, labels = images.as_stored(), None if labels is None else labels.as_stored()
    if section.velocities is not None:
        image = data.dataset.read_image(data.dataset.record(train.subjects[0]))  # aligned: all images are on one grid
        grids = image.grid, data.preprocessing.grid(image)
        place = data.dataset.folder / section.velocities
        check_sources(place, data.dataset, train.subjects)
        velocities = load_velocities(place, train.subjects, *grids)
        if section.self_pairs:
            still = np.zeros_like(next(iter(velocities.values())))
            velocities |= {(number, number): still for number in range(len(train.subjects))}
        return VelocitySampler(train.images, train.labels, velocities, batch_size, recipe.seed, section.max_shift)
    pairs = PairSampler(images, labels, real, recipe.seed, *augment) if real else None
    if pairs is not None and real == batch_size:
        return pairs
    return ImageSampler(images, labels, train.spacings, batch_size - real, recipe.seed, pairs)


def build_validation(recipe: Recipe, data: TrainingData) -> keras.utils.PyDataset | None:
    """The validation pairs, which are registered after each epoch and are always the same."""
    section, batch_size = recipe.data, recipe.training.batch_size
    if data.validation is None:
        return None
    subjects = [i for i, _ in data.pairs]
    if section.deformed is not None:
        return MadePairs(_deformed(data.validation, subjects, section.deformed, recipe.seed), batch_size)
    if section.synthetic is not None and section.pairs_are_made:
        return MadePairs(_synthetic(data.validation, subjects, section.synthetic, recipe.seed), batch_size)
    return ValidationPairs(data.validation, data.pairs, batch_size)


def _deforming(arrays: StoredSplit, random: RandomDeformation, batch_size: int, seed: int) -> DeformedPairSampler:
    if arrays.labels is None:
        raise AcregError(
            "How far data.deformed deforms an image is judged by its labels. Received: a dataset without labels. Fill "
            "the column labels of its manifest, or use data.synthetic."
        )
    for subject, labels in zip(arrays.subjects, arrays.labels, strict=True):
        check_mask(labels, f"the labels of {subject}")
    return DeformedPairSampler(arrays.images, arrays.labels, batch_size, seed, random)


def _deformed(arrays: StoredSplit, subjects: Sequence[int], random: RandomDeformation, seed: int) -> Iterator[Batch]:
    """Pairs of an image and its copy by `RandomDeformation`, each a batch of one."""
    sampler = _deforming(arrays, random, 1, seed)
    for number, i in enumerate(subjects):
        deformation = random.draw(sampler.labels[i], np.random.default_rng([seed, 1, number]))
        yield sampler.make([(i, deformation)])


def _synthetic(arrays: StoredSplit, subjects: Sequence[int], section: SyntheticSection, seed: int) -> Iterator[Batch]:
    """Pairs of single images by `ThinPlateSplineAugmentation`, each a batch of one."""
    make = ThinPlateSplineAugmentation(**section.layer_arguments(), seed=seed)
    for i in subjects:
        image = {"image": arrays.images[i : i + 1], "spacing": arrays.spacings[i : i + 1]}
        if arrays.labels is not None:
            image["labels"] = arrays.labels[i : i + 1]
        yield {name: keras.ops.convert_to_numpy(value) for name, value in make(image).items()}


class ValidationPairs(keras.utils.PyDataset):
    """The fixed pairs that determine the best epoch, in batches, in order."""

    def __init__(self, arrays: StoredSplit, pairs: Sequence[tuple[int, int]], batch_size: int) -> None:
        super().__init__()
        self.arrays = arrays
        self.pairs = list(pairs)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.pairs) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray]]:
        chosen = np.array(self.pairs[index * self.batch_size : (index + 1) * self.batch_size])
        fixed, moving = chosen.T
        batch = {"moving": self.arrays.images[moving], "fixed": self.arrays.images[fixed]}
        if self.arrays.labels is not None:
            batch["moving_labels"] = self.arrays.labels[moving]
            batch["fixed_labels"] = self.arrays.labels[fixed]
        return (batch,)


class MadePairs(keras.utils.PyDataset):
    """Fixed pairs like `ValidationPairs`, each made once from one image; they depend only on the seed."""

    def __init__(self, made: Iterable[Batch], batch_size: int) -> None:
        super().__init__()
        pairs = list(made)
        self.batches = [
            {name: np.concatenate([pair[name] for pair in part]) for name in part[0]}
            for part in (pairs[at : at + batch_size] for at in range(0, len(pairs), batch_size))
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray]]:
        return (self.batches[index],)


class ValidationLabels(keras.utils.PyDataset):
    """The label maps of the validation split in batches, in order; with `images`, beside the images."""

    def __init__(self, labels: Voxels, batch_size: int, images: Voxels | None = None) -> None:
        super().__init__()
        self.labels = labels
        self.images = images
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray | dict[str, np.ndarray]]:
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        if self.images is None:
            return (self.labels[part],)
        return ({"image": self.images[part], "labels": self.labels[part]},)


def or_none(augmentation: Augmentation) -> Augmentation | None:
    """None if every part of an augmentation is switched off, so that nothing is copied."""
    return augmentation if augmentation != Augmentation() else None


def _images(dataset: Dataset, records: Sequence[Record], progress: Progress | None) -> Iterator[Image]:
    for record in counted(records, "Learning the histogram", len(records), progress):
        yield dataset.read_image(record)


def _train_records(dataset: Dataset, section: DataSection) -> list[Record]:
    """The subjects for training."""
    parts = [dataset.uniform_split(split) for split in section.train_splits]
    labelled = [part[0].labels is not None for part in parts]
    if any(labelled) and not all(labelled):
        raise AcregError(
            f"All training splits have labels, or none. Received: {sum(labelled)} of {len(parts)} splits with labels. "
            "Change data.train_splits."
        )
    records = [record for part in parts for record in part]
    count = section.train_subjects
    if count is not None and count > len(records):
        raise UsageError(
            f"data.train_subjects is at most the number of subjects for training. Received: {count} of {len(records)}. "
            "Lower it, or leave it out for all."
        )
    return records[:count]


def _digest(parts: Sequence[StoredSplit | None]) -> str:
    return hashlib.sha256("\n".join(part.digest for part in parts if part is not None).encode()).hexdigest()
