"""The files that hold an image, and what tells whether they have changed since a run began."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.formats import by_suffix
from acreg.io.preset_config import sha256_of


def image_files(path: Path) -> list[Path]:
    """The files that hold an image: those of a folder of slices, or a header and the files of its voxels.

    A file of any other kind, or with a damaged header, counts alone; an absent one does not count.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not path.is_file():
        return []
    known = by_suffix(path)
    if known is not None and hasattr(known.module, "files"):
        with contextlib.suppress(AcregError):
            return list(known.module.files(path))
    return [path]


def contents_digest(paths: Iterable[Path | None]) -> str:
    """A digest of the contents of images and other files; what is absent or cannot be read counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        for file in [] if path is None else image_files(path):
            with contextlib.suppress(OSError):
                digest.update(sha256_of(file).encode())
        digest.update(b",")
    return digest.hexdigest()[:16]


def file_states(paths: Iterable[Path | None]) -> list[tuple[str, int, int]]:
    """Name, size and time of change, in ns, of the files that hold images; cheaper than their contents."""
    files = [file for path in paths if path is not None for file in image_files(path)]
    return [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
