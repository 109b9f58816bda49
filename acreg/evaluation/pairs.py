"""The pairs of an evaluation."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from acreg.data.manifest import Dataset
from acreg.data.sampling.pairs import fixed_pairs
from acreg.data.tables.pair_files import Pair, read_pairs
from acreg.errors import UsageError, argument

ALL, WITHIN_GROUPS = "all", "within-groups"
NUMBER = r"[0-9]{1,9}|[0-9]{0,9}N"


def choose_pairs(request: str, subjects: Sequence[str], seed: int, groups: Sequence[str] = ()) -> list[Pair]:
    """The pairs (fixed, moving) that `request` asks for.

    Args:
        request: a number; `N`, `2N` and so on, a multiple of the number of subjects, or all pairs if there are fewer;
            "all", the ordered pairs of different subjects; "within-groups", in each group its first subject as the
            fixed one with each of the others, such as the visits of a patient; or a file (see
            `acreg.data.tables.pair_files`).
        subjects: names in the split.
        seed: for drawing a number of pairs.
        groups: the group of each subject, "" for none; by default, no subject has one.

    Raises:
        UsageError: the request is none of these, asks for more pairs than there are, or for those within groups where
            no group has two subjects.
        AcregError: as `read_pairs`.
    """
    if request == WITHIN_GROUPS:
        return _within_groups(subjects, groups)
    times = re.fullmatch(r"([0-9]{0,9})N", request)
    if times or request == ALL or re.fullmatch(NUMBER, request):
        most = len(subjects) * (len(subjects) - 1)
        if not most:
            raise UsageError(
                f"A pair is of two subjects. Received: a split of {len(subjects)}. Choose another one, or add subjects."
            )
        if request == ALL:
            return list(itertools.permutations(subjects, 2))
        count = min(int(times[1] or 1) * len(subjects), most) if times else int(request)
        if not 0 < count <= most:
            raise UsageError(
                "The number of pairs is at least 1 and at most that of ordered pairs of different subjects. "
                f"Received: {argument('pairs', request)}, that is {count}, and {most} possible. Choose another number."
            )
        return fixed_pairs(subjects, count, seed)
    path = Path(request)
    if not path.is_file():
        raise UsageError(
            "Pairs are a number, a multiple of the number of subjects such as 2N, all, within-groups, or a CSV file "
            f"with columns fixed,moving. Received: {request[:80]!r}, which is no number and no file. Correct "
            f"{argument('pairs')}."
        )
    return list(read_pairs(path, subjects))


def _within_groups(subjects: Sequence[str], groups: Sequence[str]) -> list[Pair]:
    """In each group, its first subject with each of the others."""
    first: dict[str, str] = {}
    pairs = []
    for subject, group in zip(subjects, groups, strict=False):
        if group and first.setdefault(group, subject) != subject:
            pairs.append((first[group], subject))
    if not pairs:
        raise UsageError(
            "Pairs within groups need two subjects of the split with the same group in the manifest. Received: "
            f"{argument('pairs', WITHIN_GROUPS)} for {len(subjects)} subjects, no two of one group. Fill the column "
            "group, or choose other pairs."
        )
    return pairs


def counted(count: int, request: object) -> str:
    """A number of pairs in words, where `request` is that of `choose_pairs`, or None if it is not known."""
    return f"{count} pairs{' within groups' if request == WITHIN_GROUPS else ''}"


def true_transforms(request: str, subjects: Sequence[str]) -> dict[Pair, Path]:
    """The files of the true transforms of the requested pairs; empty if `request` is not a file or names none.

    Raises:
        AcregError: as `choose_pairs`.
    """
    if request in (ALL, WITHIN_GROUPS) or re.fullmatch(NUMBER, request):
        return {}
    return {pair: file for pair, file in read_pairs(request, subjects).items() if file is not None}


def labelled_pairs(dataset: Dataset, pairs: Sequence[Pair]) -> int:
    """The number of pairs in which both images have labels; 0 if the dataset has no labels except the background."""
    has = {record.subject: record.labels is not None for record in dataset.records}
    return (
        sum(has.get(fixed, False) and has.get(moving, False) for fixed, moving in pairs) if foreground(dataset) else 0
    )


def foreground(dataset: Dataset) -> dict[int, str]:
    """The labels of a dataset and their names, without the background."""
    return {value: dataset.label_names[value] for value in dataset.label_values if value != 0}
