"""Use of transforms from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acreg.geometry import Grid, Transform
from acreg.io.transforms import read_transform


def read_transforms(paths: Sequence[Path], fixed: Grid, moving: Grid) -> Transform:
    """Read several transforms as one: the first is applied to a point of the fixed image first, then the second.

    This is the order of `antsApplyTransforms` and of the maps of a `Transform`.

    Args:
        paths: files as `acreg.io.transforms.read_transform` reads them.
        fixed, moving: the grids of the two images.

    Raises:
        AcregError: as `read_transform`.
    """
    return Transform(fixed, moving, tuple(part for path in paths for part in read_transform(path, fixed, moving).maps))
