"""What a file stores, as its format knows it; `acreg inspect` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from acreg.geometry.grid import Grid


@dataclass(frozen=True)
class Contents:
    """What a file stores, by names that end in their unit; see `acreg.applications.inspection`.

    Args:
        stored: what is shown first: the format, the type of a value as it is stored, the header's description.
        array: the values: `(*spatial)`, vectors `(..., rank)`, or as they are stored; None where they cannot be read.
        grid: of an image or a field; None where the file has no place, or holds neither.
        kind: what it is, in words; empty for an image or labels, which the values tell apart.
        unit: of vectors, "mm" or "voxels"; empty for values.
        header: what else the header says, shown after the place.
        why: why acreg does not read it as an image.
    """

    stored: Mapping[str, Any]
    array: np.ndarray | None = None
    grid: Grid | None = None
    kind: str = ""
    vectors: str = ""
    unit: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
