"""Transforms from files, put to use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acreg.errors import AcregError, argument
from acreg.geometry import Grid, Transform
from acreg.io import check_folder
from acreg.io.transforms import read_transform


def read_transforms(paths: Sequence[Path], fixed: Grid, moving: Grid) -> Transform:
    """Read transforms as one: a point of the fixed image goes through the first, then through the second.

    This is the order in which `antsApplyTransforms` takes them, and that of the maps of a `Transform`.

    Args:
        paths: files as `acreg.io.transforms.read_transform` reads them.
        fixed, moving: the grids of the two images.

    Raises:
        AcregError: as `read_transform`.
    """
    return Transform(fixed, moving, tuple(part for path in paths for part in read_transform(path, fixed, moving).maps))


def check_new(path: Path, overwrite: bool) -> None:
    """Raise `AcregError` if there is such a file and it was not said that it may be replaced, or it cannot be made."""
    check_folder(path.parent)
    if path.exists() and not overwrite:
        raise AcregError(
            f"Results are not replaced unasked. Received: {path}, which exists. Choose another name, or give "
            f"{argument('overwrite', True)}."
        )
