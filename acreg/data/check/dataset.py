"""``acreg data check``: lists everything that is wrong with a dataset, with remedies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acreg.data.check.findings import Finding, Findings
from acreg.data.check.orientation import check_orientation
from acreg.data.check.summaries import Summary, check_geometry, check_label_sets, summarise
from acreg.data.records import (
    SPLITS,
    DatasetInfo,
    manifest_path,
    read_info,
    read_rows,
    resolve,
    split_name,
)
from acreg.errors import AcregError
from acreg.geometry.label_grid import labels_and_note
from acreg.io import Image, read_image, read_labels
from acreg.names import SUBJECT_RULE, is_file_name, some
from acreg.progress import Progress, counted


@dataclass(frozen=True)
class CheckResult:
    """All findings, notes on what could not be judged, and the number of subjects by split."""

    folder: Path
    findings: list[Finding]
    notes: list[str]
    counts: dict[str, int]

    @property
    def errors(self) -> int:
        """Number of findings that are errors."""
        return sum(finding.level == "error" for finding in self.findings)


def check(folder: Path | str, progress: Progress | None = None) -> CheckResult:
    """Check a dataset's folder (or manifest CSV): the manifest, every file by decoding it, and all subjects together.

    Errors: empty cells, unknown splits, a subject on several lines or in two splits, missing or unreadable files
    (including NaN and fractional labels), labels that cannot be placed on their image, label values outside the set,
    the same image content in two splits, labels for only a part of a split, a number of axes that differs from the
    others, an invalid ``dataset.json``. Warnings: empty labels, a label that one subject lacks or that only one subject
    has, a constant image, the same image twice in a split, the same group in two splits, a split without subjects,
    axes, spacing or position in space that differ from the rest, a lost geometry, a subject that seems mirrored or
    rotated.

    Only one subject at a time is in memory; about 200 kB of each are kept.

    Raises:
        AcregError: there is no manifest, or its table cannot be read (empty, a column missing).
    """
    path = manifest_path(folder)
    rows = read_rows(path)
    findings = Findings()
    info = None
    if (path.parent / "dataset.json").is_file():
        try:
            info = read_info(path.parent / "dataset.json")
        except AcregError as error:
            findings.add("error", "dataset.json", _sentence(error), "Correct the file, or delete it")
    _check_rows(rows, findings)
    contents: dict[str, list[tuple[str, str]]] = defaultdict(list)
    summaries: list[Summary] = []
    for row in counted(rows, "Checking files", len(rows), progress):
        digest, summary = _check_files(row, path.parent, info, findings)
        if digest:
            contents[digest].append((row["subject"], split_name(row["split"]) or row["split"]))
        if summary is not None:
            summaries.append(summary)
    for same in contents.values():
        if len(same) > 1:
            where, splits = [subject for subject, _ in same], {split for _, split in same}
            if len(splits) > 1:
                findings.add("error", where, f"the same image is in {_and(splits)}", "Keep it in one split")
            else:
                what = f"the same image is in {_and(splits)} {len(same)} times"
                findings.add("warning", where, what, "Keep one of them")
    check_label_sets(summaries, info, findings)
    alike = check_geometry(summaries, info is not None and info.spacing is not None, findings)
    check_orientation(alike, findings)
    counts = {name: sum(split_name(row["split"]) == name for row in rows) for name in SPLITS}
    return CheckResult(path.parent, findings.listed(), findings.notes, counts)


def _check_rows(rows: list[dict[str, str]], findings: Findings) -> None:
    by_subject, by_group, by_split = (defaultdict[str, list[dict[str, str]]](list) for _ in range(3))
    for number, row in enumerate(rows, 1):
        split = split_name(row["split"])
        where = row["subject"] or f"row {number}"
        if not row["subject"]:
            findings.add("error", where, "no subject", "Fill the cell or delete the line")
        elif not is_file_name(row["subject"]):
            findings.add("error", where, "the subject's name cannot name files", f"Rename it. {SUBJECT_RULE}")
        if not row["image"]:
            findings.add("error", where, "no image", "Fill the cell or delete the line")
        if split is None:
            findings.add("error", where, f"unknown split {row['split']!r}", "Write train, validation or test")
            continue
        by_split[split].append(row)
        by_subject[row["subject"]].append(row)
        by_group[row.get("group", "")].append(row)
    for subject, same in by_subject.items():
        splits = {split_name(row["split"]) or "" for row in same}
        if subject and len(splits) > 1:
            findings.add("error", subject, f"the subject is in {_and(splits)}", "Keep its line in one split only")
        elif subject and len(same) > 1:
            findings.add(
                "error", subject, f"the subject is on {len(same)} lines", "Keep one line, or give distinct names"
            )
    for group, same in by_group.items():
        splits = {split_name(row["split"]) or "" for row in same}
        if group and len(splits) > 1:
            findings.add("warning", f"group {group}", f"the group is in {_and(splits)}", "Keep a group in one split")
    for split in SPLITS:
        if not by_split[split]:
            findings.add(
                "warning", split, "the split has no subjects", f"Write {split} in the column split of some lines"
            )
        bare = [row["subject"] for row in by_split[split] if not row["labels"]]
        if bare and len(bare) < len(by_split[split]):
            findings.add(
                "error", split, f"no labels for {some(bare)} but for others", "Fill the column labels for all or none"
            )


def _check_files(
    row: dict[str, str], folder: Path, info: DatasetInfo | None, findings: Findings
) -> tuple[str | None, Summary | None]:
    """Check the files of a row; returns a digest of the image content and the data kept for comparisons."""
    where = row["subject"] or row["image"]
    points = _resolve(folder, row.get("points", ""), where, findings)
    if points is not None and not points.is_file():
        findings.add(
            "error", where, f"missing file {points}", "Correct the path (relative to the manifest) or add the file"
        )
    image = _read(_resolve(folder, row["image"], where, findings), where, read_image, findings)
    labels = _read(_resolve(folder, row["labels"], where, findings), where, read_labels, findings)
    if labels is not None:
        _check_values(where, labels, info, findings)
    if image is None:
        return None, None
    if image.array.size and float(image.array.min()) == float(image.array.max()):
        findings.add("warning", where, f"the image is constant ({row['image']})", "Replace it or delete the line")
    if info is not None and info.spacing is not None and len(info.spacing) != image.array.ndim:
        findings.add(
            "error",
            where,
            f"the image has {image.array.ndim} axes, the spacing in dataset.json {len(info.spacing)} numbers",
            "Correct the spacing, or write null to use the files' own",
        )
    if labels is not None:
        labels = _placed(where, labels, image, findings)
    return image.digest, summarise(where, image, labels, info.spacing if info else None)


def _placed(where: str, labels: Image, image: Image, findings: Findings) -> Image | None:
    """The labels on the grid of the image; None and a finding if they cannot be placed there."""
    try:
        placed, note = labels_and_note(labels, image)
    except AcregError as error:
        reason, _, remedy = _sentence(error).rpartition(". ")
        findings.add("error", where, reason, remedy)
        return None
    if note:
        findings.add("warning", where, note.rstrip("."), "Resample the labels to the image's grid")
    return placed


def _check_values(where: str, labels: Image, info: DatasetInfo | None, findings: Findings) -> None:
    present = {int(value) for value in np.unique(labels.array)}
    allowed = set(info.labels) if info else None
    outside = sorted(present - allowed if allowed is not None else {value for value in present if value < 0})
    if outside:
        rule = f"outside the set [{some(map(str, sorted(allowed)), 12)}]" if allowed is not None else "below 0"
        what = f"label values {rule}: {some(map(str, outside))}"
        findings.add("error", where, what, "Correct the file or the label set")
    if not present - {0}:
        findings.add("warning", where, "the labels are empty (background only)", "Draw the labels or delete the line")


def _resolve(folder: Path, cell: str, where: str, findings: Findings) -> Path | None:
    try:
        return resolve(folder, cell)
    except AcregError:
        findings.add(
            "error", where, f"the relative path {cell} leaves the manifest's folder", "Write it as an absolute path"
        )
        return None


def _read(path: Path | None, where: str, reader: Callable[[Path], Image], findings: Findings) -> Image | None:
    if path is None:
        return None
    if not path.is_file():
        findings.add(
            "error", where, f"missing file {path}", "Correct the path (relative to the manifest) or add the file"
        )
        return None
    try:
        return reader(path)
    except (AcregError, OSError) as error:
        message = _sentence(error)
        reason, _, remedy = message.rpartition(". ")  # the last sentence of an AcregError is the remedy
        if str(path) not in reason:
            reason, remedy = f"{path}: {message}", "Replace the file"
        findings.add("error", where, f"unreadable file: {reason}", remedy)
        return None


def _sentence(error: Exception) -> str:
    return str(error).strip().rstrip(".")


def _and(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))
