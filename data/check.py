"""``acreg data check``: everything that is wrong with a dataset, all at once, with what to do about each."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from acreg.data.manifest import Progress
from acreg.data.records import (
    SPLITS,
    DatasetInfo,
    is_file_name,
    manifest_path,
    read_info,
    read_rows,
    resolve,
    some,
    split_name,
)
from acreg.errors import AcregError
from acreg.io import Image, read_image, read_labels

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something wrong: an ``error`` stops training or evaluation or falsifies it, a ``warning`` may be meant."""

    level: Level
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.what}. {self.remedy}."


@dataclass(frozen=True)
class CheckResult:
    """All findings, and the number of subjects by split."""

    folder: Path
    findings: list[Finding]
    counts: dict[str, int]

    @property
    def errors(self) -> int:
        """Number of findings that are errors."""
        return sum(finding.level == "error" for finding in self.findings)


def check(folder: Path | str, progress: Progress | None = None) -> CheckResult:
    """Check a dataset's folder (or manifest CSV): the manifest, then every file by decoding it.

    Errors: empty cells, unknown splits, a subject on several lines or in two splits, missing or unreadable files,
    sizes of image and labels that differ, label values outside the set, the same image content in two splits, labels
    for a part of a split only, a faulty ``dataset.json``. Warnings: empty labels, a label of the set that a subject
    lacks, a constant image, the same image twice in a split, the same group in two splits, a split without subjects.

    Raises:
        AcregError: no manifest, or one whose table cannot be read (empty, a column missing).
    """
    path = manifest_path(folder)
    rows = read_rows(path)
    findings: list[Finding] = []

    def add(level: Level, where: str, what: str, remedy: str) -> None:
        findings.append(Finding(level, where, what, remedy))

    info = None
    if (path.parent / "dataset.json").is_file():
        try:
            info = read_info(path.parent / "dataset.json")
        except AcregError as error:
            add("error", "dataset.json", _sentence(error), "Correct the file, or delete it")
    _check_rows(rows, add)
    contents: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for done, row in enumerate(rows, 1):
        digest = _check_files(row, path.parent, info, add)
        if digest:
            contents[digest].append((row["subject"], split_name(row["split"]) or row["split"]))
        if progress:
            progress("Checking files", done, len(rows))
    for same in contents.values():
        if len(same) > 1:
            where, splits = some(subject for subject, _ in same), {split for _, split in same}
            if len(splits) > 1:
                add("error", where, f"the same image is in {_and(splits)}", "Keep it in one split")
            else:
                add("warning", where, f"the same image is in {_and(splits)} {len(same)} times", "Keep one of them")
    counts = {name: sum(split_name(row["split"]) == name for row in rows) for name in SPLITS}
    return CheckResult(path.parent, sorted(findings, key=lambda finding: finding.level), counts)


Add = Callable[[Level, str, str, str], None]


def _check_rows(rows: list[dict[str, str]], add: Add) -> None:
    by_subject, by_group, by_split = (defaultdict[str, list[dict[str, str]]](list) for _ in range(3))
    for number, row in enumerate(rows, 1):
        split = split_name(row["split"])
        where = row["subject"] or f"row {number}"
        if not row["subject"]:
            add("error", where, "no subject", "Fill the cell or delete the line")
        elif not is_file_name(row["subject"]):
            add("error", where, "the subject's name cannot name a folder", "Use no slashes and no leading dot")
        if not row["image"]:
            add("error", where, "no image", "Fill the cell or delete the line")
        if split is None:
            add("error", where, f"unknown split {row['split']!r}", "Write train, validation or test")
            continue
        by_split[split].append(row)
        by_subject[row["subject"]].append(row)
        by_group[row.get("group", "")].append(row)
    for subject, same in by_subject.items():
        splits = {split_name(row["split"]) or "" for row in same}
        if subject and len(splits) > 1:
            add("error", subject, f"the subject is in {_and(splits)}", "Keep its line in one split only")
        elif subject and len(same) > 1:
            add("error", subject, f"the subject is on {len(same)} lines", "Keep one line, or give distinct names")
    for group, same in by_group.items():
        splits = {split_name(row["split"]) or "" for row in same}
        if group and len(splits) > 1:
            add("warning", f"group {group}", f"the group is in {_and(splits)}", "Keep a group in one split")
    for split in SPLITS:
        if not by_split[split]:
            add("warning", split, "the split has no subjects", f"Write {split} in the column split of some lines")
        bare = [row["subject"] for row in by_split[split] if not row["labels"]]
        if bare and len(bare) < len(by_split[split]):
            add("error", split, f"no labels for {some(bare)} but for others", "Fill the column labels for all or none")


def _check_files(row: dict[str, str], folder: Path, info: DatasetInfo | None, add: Add) -> str | None:
    """Check a row's files; returns a digest of the image's content."""
    where = row["subject"] or row["image"]
    points = _resolve(folder, row.get("points", ""), where, add)
    if points is not None and not points.is_file():
        add("error", where, f"missing file {points}", "Correct the path (relative to the manifest) or add the file")
    image = _read(_resolve(folder, row["image"], where, add), where, read_image, add)
    labels = _read(_resolve(folder, row["labels"], where, add), where, read_labels, add)
    digest = None
    if image is not None:
        digest = hashlib.sha256(repr(image.array.shape).encode() + image.array.tobytes()).hexdigest()
        if image.array.size and float(image.array.min()) == float(image.array.max()):
            add("warning", where, f"the image is constant ({row['image']})", "Replace it or delete the line")
        if info is not None and info.spacing is not None and len(info.spacing) != image.array.ndim:
            add(
                "error",
                where,
                f"the image has {image.array.ndim} axes, the spacing in dataset.json {len(info.spacing)} numbers",
                "Correct the spacing, or write null to use the files' own",
            )
    if image is not None and labels is not None and image.array.shape != labels.array.shape:
        add(
            "error",
            where,
            f"the image is {_size(image)}, its labels {_size(labels)}",
            "Resample the labels to the image's grid, or correct the path",
        )
    if labels is not None:
        _check_values(where, labels, info, add)
    return digest


def _check_values(where: str, labels: Image, info: DatasetInfo | None, add: Add) -> None:
    present = {int(value) for value in np.unique(labels.array)}
    allowed = set(info.labels) if info else None
    outside = sorted(present - allowed if allowed is not None else {value for value in present if value < 0})
    if outside:
        rule = f"outside the set {sorted(allowed)}" if allowed is not None else "below 0"
        add("error", where, f"label values {rule}: {some(map(str, outside))}", "Correct the file or the label set")
    if not present - {0}:
        add("warning", where, "the labels are empty (background only)", "Draw the labels or delete the line")
    elif info:
        absent = [info.labels[value] for value in sorted(set(info.labels) - present - {0})]
        if absent:
            add(
                "warning",
                where,
                f"the labels lack {some(absent)}",
                "Check them; an absent label gets no scores",
            )


def _resolve(folder: Path, cell: str, where: str, add: Add) -> Path | None:
    try:
        return resolve(folder, cell)
    except AcregError:
        add("error", where, f"the relative path {cell} leaves the manifest's folder", "Write it as an absolute path")
        return None


def _read(path: Path | None, where: str, reader: Callable[[Path], Image], add: Add) -> Image | None:
    if path is None:
        return None
    if not path.is_file():
        add("error", where, f"missing file {path}", "Correct the path (relative to the manifest) or add the file")
        return None
    try:
        return reader(path)
    except (AcregError, OSError) as error:
        add("error", where, f"unreadable file {path}: {_sentence(error)}", "Replace the file")
        return None


def _sentence(error: Exception) -> str:
    return str(error).strip().rstrip(".")


def _size(image: Image) -> str:
    return " x ".join(map(str, image.array.shape))


def _and(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))
