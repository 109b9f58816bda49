"""The images of a batch run, found in a folder or listed in a CSV; and the pairs of images that a CSV lists."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from acreg.data.records import read_cells, resolve
from acreg.errors import AcregError, UsageError
from acreg.io.formats import stem
from acreg.io.guards import format_of
from acreg.names import folded, is_file_name, some

OPTIONAL = ("subject", "labels", "truth")
OUT = "out"
"""The column of a list of pairs with the name of each pair, which is that of its folder of results."""


@dataclass(frozen=True)
class Item:
    """An image to be processed.

    Attributes:
        name: unique in its run; results are named after it. It contains slashes if the image lies in a sub-folder.
        image, labels, truth: files.
    """

    name: str
    image: Path
    labels: Path | None = None
    truth: Path | None = None


@dataclass(frozen=True)
class PairItem:
    """A pair of images to be registered.

    Attributes:
        name: unique in its run; its results are in the folder of this name.
        fixed, moving, labels, fixed_labels, fixed_mask, moving_mask, initial: files, see `acreg.register`.
    """

    name: str
    fixed: Path
    moving: Path
    labels: Path | None = None
    fixed_labels: Path | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    initial: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files that are given, by their names in `acreg.register`."""
        given = {column: getattr(self, column) for column in PAIR_FILES}
        return {column: path for column, path in given.items() if path is not None}


PAIR_FILES = tuple(each.name for each in fields(PairItem)[1:])
"""The columns of files in a list of pairs."""


def find_pairs(path: Path) -> list[PairItem]:
    """The pairs in a list, in its order.

    Args:
        path: a CSV with the columns fixed and moving and optionally labels, fixed_labels, fixed_mask, moving_mask,
            initial and out (the name of the pair; default: the names of both files, moving_to_fixed). Its paths are
            absolute or relative to its folder. Files need not exist: a pair whose files are missing fails alone.

    Raises:
        UsageError: there is no file or no pair.
        AcregError: the CSV has other columns, a row names no fixed or no moving image, or two pairs have one name.
    """
    if not path.is_file():
        raise UsageError(f"A list of pairs is a CSV file. Received: {path}, which is none. Name another.")
    table = read_cells(path, "list of pairs")
    header = table[0] if table else []
    needed, known = set(PAIR_FILES[:2]), {OUT, *PAIR_FILES}
    if not needed <= set(header) or not set(header) <= known or len(set(header)) < len(header):
        raise AcregError(
            f"A list of pairs has the columns {' and '.join(PAIR_FILES[:2])}, and may have "
            f"{', '.join([*PAIR_FILES[2:], OUT])}. Received: {path} with {', '.join(header) or 'nothing'}. Correct its "
            "first line."
        )
    items = []
    for number, cells in enumerate(table[1:], 1):
        row = dict(zip(header, cells + [""] * len(header), strict=False))
        files = {column: resolve(path.parent, row.get(column, "")) for column in PAIR_FILES}
        fixed, moving = files.pop("fixed"), files.pop("moving")
        name = row.get(OUT) or (f"{stem(moving.name)}_to_{stem(fixed.name)}" if fixed and moving else "")
        if fixed is None or moving is None or not _is_name(name):
            raise AcregError(
                "A row of a list of pairs names a fixed and a moving image, and a folder by which results can be named."
                f" Received: {path} with {row} in row {number}. Correct it."
            )
        items.append(PairItem(name, fixed, moving, **files))
    if not items:
        raise UsageError(f"There must be a pair to register. Received: {path}, in which none is. Name another.")
    if double := _repeated(items):
        raise AcregError(
            f"The results of each pair have a folder of their own. Received: {path} with {some(double)} more than once."
            f" Give each pair another name in a column {OUT}."
        )
    return items


def find_items(source: Path, leave_out: Path | None = None) -> list[Item]:
    """The images that `source` means, in an order that does not depend on the machine.

    Args:
        source: an image; a folder, searched with all its sub-folders, whose images are each named by their path
            without the suffix; or a CSV, such as a dataset's manifest, with the column image and optionally subject
            (the name; default: the file's name), labels and truth. Its paths are absolute or relative to its folder.
        leave_out: a folder that is not searched, such as that of the results.

    Raises:
        UsageError: there is no image, or the file or folder does not exist.
        AcregError: a CSV lacks the column image or names a file that does not exist, or two images have the same name.
    """
    if source.is_dir():
        items = _in_folder(source, None if leave_out is None else leave_out.resolve())
    elif source.suffix.lower() == ".csv" and source.is_file():
        items = _in_table(source)
    elif source.is_file():
        items = [Item(stem(source.name), source)]
    else:
        raise UsageError(f"--images is an image, a folder or a CSV. Received: {source}, which does not exist.")
    if not items:
        raise UsageError(f"There must be an image to work on. Received: {source}, in which none is. Name another.")
    if double := _repeated(items):
        raise AcregError(
            f"Results are named by their images, whose names without suffix differ. Received: {source} with "
            f"{some(double)} more than once. Rename the files, or give a CSV with a column subject."
        )
    return items


def _repeated(items: Sequence[Item] | Sequence[PairItem]) -> list[str]:
    """The names of several items, which would share a place among the results."""
    return [name for name, count in Counter(folded(item.name) for item in items).items() if count > 1]


def _in_folder(folder: Path, leave_out: Path | None) -> list[Item]:
    items = []
    for root, folders, names in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != leave_out)
        for name in sorted(names):
            if not name.startswith(".") and format_of(here / name) is not None:
                items.append(Item(stem((here / name).relative_to(folder).as_posix()), here / name))
    return items


def _in_table(path: Path) -> list[Item]:
    table = read_cells(path, "list of images")
    header = table[0] if table else []
    if "image" not in header:
        raise AcregError(
            f"A list of images has the column image, and may have {', '.join(OPTIONAL)}. Received: {path} with "
            f"{', '.join(header) or 'nothing'}. Correct its first line."
        )
    items = []
    for number, cells in enumerate(table[1:], 1):
        row = dict(zip(header, cells + [""] * len(header), strict=False))
        image = resolve(path.parent, row["image"])
        name = row.get("subject") or (stem(image.name) if image else "")
        if image is None or not _is_name(name):
            raise AcregError(
                f"A row of a list of images names an image, and a subject by which files can be named. Received: {path}"
                f" with {row} in row {number}. Correct it."
            )
        labels, truth = (resolve(path.parent, row.get(column, "")) for column in ("labels", "truth"))
        items.append(Item(name, image, labels, truth))
    missing = [str(p) for i in items for p in (i.labels, i.truth) if p is not None and not p.is_file()]
    if missing:
        raise AcregError(
            f"Every label file that a list of images names must exist. Received: {path}, which names {some(missing)}. "
            "Correct the paths, which are relative to its folder."
        )
    return items


def _is_name(name: str) -> bool:
    return bool(name) and all(part and is_file_name(part) for part in name.split("/"))
