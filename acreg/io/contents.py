"""The stored contents of a file, as its format defines them; `acreg inspect` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from acreg.geometry.grid import Grid


@dataclass(frozen=True)
class Contents:
    """The stored contents of a file, by names that end in their unit; see `acreg.applications.inspection`.

    Args:
        stored: what is shown first: the format, the stored type of a value, the description in the header.
        array: the values: `(*spatial)`, vectors `(..., rank)`, or as they are stored; None if they cannot be read.
        grid: grid of an image or a field; None if the file has no position, or holds neither.
        kind: the kind of contents, in words; empty for an image or labels, which the values distinguish.
        unit: unit of vectors, "mm" or "voxels"; empty for values.
        header: further information in the header, shown after the position.
        why: the reason why acreg does not read it as an image.
    """

    stored: Mapping[str, Any]
    array: np.ndarray | None = None
    grid: Grid | None = None
    kind: str = ""
    vectors: str = ""
    unit: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
