"""Region tables, which assign labels to regions in reports: CSV files with the columns ``label,region``."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from acreg.data.tables.label_table import read_lines, refuse_double, whole
from acreg.errors import AcregError

SHIPPED = Path(__file__).resolve().parent.parent / "region_tables"
COLUMNS = ("label", "region")


@dataclass(frozen=True)
class RegionTable:
    """Labels and their regions. Unlike in a label table, the labels are not merged: a region is a mean over them.

    Attributes:
        name: name of the table, for messages and headings.
        regions: region -> its labels, in the order of the table.
    """

    name: str
    regions: dict[str, tuple[int, ...]]

    def without(self, labels: Collection[int]) -> list[int]:
        """The `labels` that belong to no region, in order."""
        known = {label for members in self.regions.values() for label in members}
        return [label for label in labels if label not in known]


def read_region_table(name_or_path: str | os.PathLike[str]) -> RegionTable:
    """Read a region table.

    Its first line has the columns ``label`` (in the files) and ``region``, which is a name, or empty for a label that
    belongs to no region. Other columns, and lines that begin with ``#``, are ignored.

    Args:
        name_or_path: a CSV file, or the name of a table that is shipped with acreg: ``dkt31-5``.

    Raises:
        UsageError: neither a file nor a known name.
        AcregError: the file is not UTF-8 text, a column is missing, a label is not an integer or is on two lines, or
            there is no region.
    """
    path, lines = read_lines(name_or_path, SHIPPED, COLUMNS, "region table")
    labels = [whole(line[0], path, line, "region table") for line in lines]
    refuse_double(labels, path, "region table")
    regions: dict[str, tuple[int, ...]] = {}
    for label, (_, region) in zip(labels, lines, strict=True):
        if region and label == 0:
            raise AcregError(
                f"0 is the background and of no region. Received: {path} with 0 in {region!r}. Delete this line."
            )
        if region:
            regions[region] = (*regions.get(region, ()), label)
    if not regions:
        raise AcregError(
            f"A region table names a region for some labels. Received: {path}, whose cells under region are all empty. "
            "Fill them."
        )
    return RegionTable(path.stem, regions)
