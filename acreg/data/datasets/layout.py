"""What the public chest X-ray datasets have in common, and their layout in the public AC-RegNet repository.

In that layout ``<root>/LR_64`` and ``<root>/LR_256`` hold ``images/NAME.png`` and ``labels/NAME.png`` (of Shenzhen
``labels/NAME_mask.png``), and ``<root>/split`` the lists (see `acreg.data.splits.published_splits`), whose path
prefixes need not exist and which always leave out ``_mask``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acreg.data.splits import published_splits, split_subjects
from acreg.errors import AcregError
from acreg.io import read_image, read_labels
from acreg.names import some

SUFFIX = "_mask"
"""The end of the names of some label files."""


@dataclass(frozen=True)
class Item:
    """The files of a subject in a source: its image, and one or several label files by organ."""

    subject: str
    image: Path
    labels: dict[str, Path]


@dataclass(frozen=True)
class Layout:
    """The layout found in a source folder.

    Attributes:
        kind: ``"public"`` (of the AC-RegNet repository) or ``"original"`` (the owner's files).
        root: the folder in which it was found.
        items: the subjects that are used, sorted by name.
        splits: subject -> split.
        split_rule: a sentence that describes how the split was made.
        skipped: subjects that are left out because they have no labels or are in no list.
    """

    kind: str
    root: Path
    items: list[Item]
    splits: dict[str, str]
    split_rule: str
    skipped: list[str]


@dataclass(frozen=True)
class PublicDataset:
    """A public dataset: its properties, and how its owner's files are found and decoded.

    Attributes:
        name, folder: on the command line, and in the public repository.
        subject_pattern: regular expression for its file names without suffix.
        label_names: id -> name, with 0 for the background.
        file_values: grey level in the label files of the public layout -> id; other values are refused.
        extent: side of the square image in ``unit`` (spacing = extent / size).
        unit: ``"mm"`` or ``"px"``.
        pixel: side of an original pixel in ``unit``.
        align: whether the original images are padded to a square and registered to a reference image.
        licence, source: one sentence each.
        original_layout: a description for messages.
        find_original: folder -> items, empty if the folder is not in the owner's layout.
        read_original: item -> image float32 ``(rows, columns)`` in 0..255 with bright bone, and its ids int32.
    """

    name: str
    folder: str
    subject_pattern: str
    label_names: dict[int, str]
    file_values: dict[int, int]
    extent: float
    unit: str
    pixel: float
    align: bool
    licence: str
    source: str
    original_layout: str
    find_original: Callable[[Path], list[Item]]
    read_original: Callable[[Item], tuple[np.ndarray, np.ndarray]]


def find_layout(dataset: PublicDataset, source: Path | str, size: int, seed: int = 0) -> Layout:
    """Find the files of a dataset in its own folder, in the parent folder, or in the root of the repository.

    Args:
        dataset: the dataset to find.
        source: the folder to search.
        size: the wanted side in pixels: ``LR_<size>`` is used if it exists, otherwise the largest.
        seed: seed of the split (of the validation part, or of the whole split if there is no list).

    Raises:
        AcregError: the folder does not exist or has neither layout, a listed file is missing, or names belong to
            another dataset.
    """
    source = Path(source)
    if not source.is_dir():
        raise AcregError(
            f"The source must be a folder. Received: {source}. Name the folder that holds {dataset.folder}."
        )
    roots = _roots(source, dataset.folder)
    for root in roots:
        sizes = _sizes(root)
        if sizes:
            return _public(dataset, root, size if size in sizes else sizes[-1], seed)
    for root in roots:
        found = dataset.find_original(root)
        if found:
            items = [item for item in found if item.labels]
            _check_names(dataset, root, [item.subject for item in items])
            splits, rule = _splits(root, [item.subject for item in items], None, seed)
            used = [item for item in items if item.subject in splits]
            skipped = sorted({item.subject for item in found} - {item.subject for item in used})
            return Layout("original", root, used, splits, rule, skipped)
    raise AcregError(
        f"The source of {dataset.name} is the public AC-RegNet repository's layout ({dataset.folder}/LR_256/images, "
        f"labels and {dataset.folder}/split) or the original one ({dataset.original_layout}). Received: {source}, "
        f"which holds {some(sorted(p.name for p in source.iterdir())) or 'nothing'}. Name the folder that holds "
        "one of them."
    )


def read_public(dataset: PublicDataset, item: Item) -> tuple[np.ndarray, np.ndarray]:
    """Image float32 ``(rows, columns)`` and ids int32 of a subject in the public layout, at the size of its files.

    Raises:
        AcregError: an unreadable file, a grey level outside the dataset's table, or sizes that differ.
    """
    image = read_image(item.image)
    labels = read_labels(item.labels["all"], values=sorted(dataset.file_values))
    check_same_size(item, image.array, labels.array)
    ids = np.zeros(labels.array.shape, np.int32)
    for value, label in dataset.file_values.items():
        ids[labels.array == value] = label
    return image.array, ids


def read_lungs(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """Image float32 ``(rows, columns)`` in 0..255 and ids int32 of a subject in an original layout: 1 in any mask.

    Raises:
        AcregError: an unreadable file, or sizes that differ.
    """
    image = to_8_bit(read_image(item.image).array)
    ids = np.zeros(image.shape, np.int32)
    for path in item.labels.values():
        mask = read_labels(path).array
        check_same_size(item, image, mask)
        ids[mask != 0] = 1
    return image, ids


def check_same_size(item: Item, image: np.ndarray, labels: np.ndarray) -> None:
    """Refuse an image and labels of different sizes."""
    if image.shape != labels.shape:
        raise AcregError(
            f"An image and its labels have one size. Received: {item.subject} with image {image.shape} and labels "
            f"{labels.shape} ({item.image}). Get both files again."
        )


def to_8_bit(array: np.ndarray) -> np.ndarray:
    """Intensities in 0..255, float32: 12- and 16-bit images are scaled by the largest value of their bit depth."""
    high = float(array.max())
    scale = 1.0 if high <= 255 else 255 / 4095 if high <= 4095 else 255 / 65535
    return (array * np.float32(scale)).astype(np.float32)


def _roots(source: Path, folder: str) -> list[Path]:
    """The source itself, then folders with the dataset's name (in upper or lower case) in it and in its ``data``."""
    found = [source]
    for parent in (source, source / "data"):
        if parent.is_dir():
            found += [p for p in sorted(parent.iterdir()) if p.is_dir() and folder.lower() in p.name.lower()]
    return found


def _sizes(root: Path) -> list[int]:
    names = [p.name for p in root.glob("LR_*") if (p / "images").is_dir() and (p / "labels").is_dir()]
    return sorted(int(name[3:]) for name in names if name[3:].isdigit())


def _public(dataset: PublicDataset, root: Path, size: int, seed: int) -> Layout:
    folder = root / f"LR_{size}"
    images = {p.stem: p for p in sorted((folder / "images").glob("*.png"))}
    labels = {p.stem.removesuffix(SUFFIX): p for p in sorted((folder / "labels").glob("*.png"), reverse=True)}
    splits, rule = _splits(root, sorted(set(images) & set(labels)), size, seed)
    missing = [
        f"{part}/{name}.png" for name in splits for part, h in (("images", images), ("labels", labels)) if name not in h
    ]
    if missing:
        raise AcregError(
            f"Every subject of the lists needs its files. Received: {folder} without {some(missing)}. Get the "
            "folder again."
        )
    _check_names(dataset, root, list(splits))
    items = [Item(name, images[name], {"all": labels[name]}) for name in sorted(splits)]
    return Layout("public", root, items, splits, rule, sorted(set(images) - set(splits)))


def _splits(root: Path, subjects: list[str], size: int | None, seed: int) -> tuple[dict[str, str], str]:
    published = published_splits(root / "split", size, seed)
    if published is None:
        return split_subjects(subjects, seed), f"seeded 60/20/20 by subject (seed {seed})"
    if size is None:
        unknown = sorted(set(published) - set(subjects))
        if unknown:
            raise AcregError(
                f"Every subject of the lists needs an image and its masks. Received: {root} without those of "
                f"{some(unknown)}. Complete the folder, or delete its split folder to have the subjects split by a "
                "seed."
            )
    return published, f"published lists, a quarter of the training list as validation (seed {seed})"


def _check_names(dataset: PublicDataset, root: Path, subjects: list[str]) -> None:
    foreign = [name for name in subjects if not re.fullmatch(dataset.subject_pattern, name)]
    if foreign:
        raise AcregError(
            f"The files of {dataset.name} are named as in {dataset.subject_pattern}. Received: {some(foreign)} in "
            f"{root}. Name the right dataset and folder."
        )
    if not subjects:
        raise AcregError(f"The source needs images with labels. Received: {root} without any. Name the right folder.")
