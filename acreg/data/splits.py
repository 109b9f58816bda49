"""Splits into train, validation and test: by published lists, or by a seed.

In both cases, the subjects are sorted by name, then permuted by ``np.random.default_rng(seed)``. So a
split depends only on the set of names and the seed, not on the order of files or lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from acreg.errors import AcregError
from acreg.io.documents import read_text
from acreg.names import some

VALIDATION_SHARE = 0.25
"""Share of a published training list for validation: it gives about 60/20/20 % of all subjects, as in the paper."""


def read_list(path: Path | str) -> list[str]:
    """The subjects of a published list: one path per line, of which only the name without suffix is used.

    Raises:
        AcregError: the list is empty, is not text, or names a subject twice.
    """
    path = Path(path)
    lines = [line.strip() for line in read_text(path, "list of subjects").splitlines()]
    names = [PurePosixPath(line.replace("\\", "/")).stem for line in lines if line]
    double = sorted({name for name in names if names.count(name) > 1})
    if not names or double:
        what = f"{some(double)} more than once" if double else "no names"
        raise AcregError(f"A list names each subject once. Received: {path} with {what}. Get the file again.")
    return names


def cut_validation(train: Iterable[str], share: float = VALIDATION_SHARE, seed: int = 0) -> dict[str, str]:
    """Split a training list: the first ``round(share * n)`` of the permuted subjects are validation, the rest train.

    Args:
        train: subject names.
        share: share of them for validation.
        seed: seed of the permutation.

    Returns:
        subject -> ``"train"`` or ``"validation"``. With the default share, the 197 subjects of JSRT give 148 and 49,
        and the 110 of Montgomery 82 and 28.
    """
    order = _permuted(train, seed)
    count = round(share * len(order))
    return {name: "validation" if i < count else "train" for i, name in enumerate(order)}


def split_subjects(subjects: Iterable[str], seed: int = 0) -> dict[str, str]:
    """Split subjects 60/20/20 % if no list was published.

    The first ``round(0.2 * n)`` of the permuted subjects are test, the same number after them validation, the rest
    train.

    Raises:
        AcregError: there are fewer than 3 subjects, so that a split would be empty.
    """
    order = _permuted(subjects, seed)
    if len(order) < 3:
        raise AcregError(
            f"Three splits need at least 3 subjects. Received: {len(order)} ({some(order)}). Add images, or write the "
            "manifest's column split by hand."
        )
    count = max(1, round(0.2 * len(order)))
    return {n: "test" if i < count else "validation" if i < 2 * count else "train" for i, n in enumerate(order)}


def published_splits(folder: Path | str, size: int | None = None, seed: int = 0) -> dict[str, str] | None:
    """The split of a ``split`` folder with ``{train,test}_{images,labels}_{64,256}.txt``, or None if it is not there.

    The test list is the test split; `cut_validation` is applied to the training list. The lists of images and of labels
    must name the same subjects in the same order.

    Raises:
        AcregError: a list is missing, the parallel lists differ, or a subject is in both.
    """
    folder = Path(folder)
    found = sorted(int(p.stem.rsplit("_", 1)[1]) for p in folder.glob("train_images_*.txt") if p.stem[-1].isdigit())
    if not found:
        return None
    suffix = size if size in found else found[-1]
    lists = {}
    for part in ("train", "test"):
        images, labels = folder / f"{part}_images_{suffix}.txt", folder / f"{part}_labels_{suffix}.txt"
        if not images.is_file():
            raise AcregError(f"The published split needs a train and a test list. Received: no {images}. Get it again.")
        lists[part] = read_list(images)
        if labels.is_file() and read_list(labels) != lists[part]:
            raise AcregError(
                f"Parallel lists name the same subjects in the same order. Received: {images} and {labels}, which "
                "differ. Get both files again."
            )
    both = sorted(set(lists["train"]) & set(lists["test"]))
    if both:
        raise AcregError(
            f"A subject is in one split only. Received: {some(both)} in the train and the test list of {folder}. "
            "Delete the subject from one of them."
        )
    return {**cut_validation(lists["train"], seed=seed), **dict.fromkeys(lists["test"], "test")}


def _permuted(subjects: Iterable[str], seed: int) -> list[str]:
    names = sorted(set(subjects))
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
