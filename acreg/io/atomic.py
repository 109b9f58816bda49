"""Files are written under a temporary name and renamed: a reader sees the old file or the new, never half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.files import check_name

TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.tmp.*")
"""The names of temporary files and folders: a kill leaves them behind."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` when the block ends without an error.

    The temporary name lies in the same folder (made if absent) and ends in the same suffixes, because writers choose
    their format by them. On any error, also an interruption from the keyboard, what was written is removed and an older
    file at `path` stays as it was.

    Args:
        path: the file to be written.

    Raises:
        AcregError: `path` is an existing folder or not in UTF-8, or the block ended without writing anything.
        OSError: the folder cannot be made, or the writing in the block failed (disk full, permission).

    Example:
        >>> with atomic_path("runs/a/metrics.csv") as temporary:
        ...     temporary.write_text("step,loss\\n")
    """
    path = Path(path)
    check_name(path)
    if path.is_dir():
        raise AcregError(
            f"A file cannot be written where a folder is. Received: {path}. Give the name of a file in it."
        )
    made = make_folder(path.parent)
    temporary = path.parent / f".{secrets.token_hex(6)}.tmp{''.join(path.suffixes)}"
    try:
        yield temporary
        if not temporary.is_file():
            raise AcregError(
                f"Nothing was written for {path}: the writer made no file. Check the format that the name asks for."
            )
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def not_whole(path: Path) -> AcregError:
    """The error of a file that cannot be read after it was written."""
    return AcregError(
        f"A file must be written whole. Received: an incomplete {path.suffix} file in {path.parent}. Check "
        "that the disk is not full and that the folder may be written to, then run the command again."
    )


def require_space(path: str | os.PathLike[str], size: int) -> None:
    """Raise the error of a full disk now if `size` bytes would not fit where `path` is to be written.

    For writers that do not survive a full disk: HDF5 brings the whole process down when it closes such a file.

    Raises:
        OSError: with errno ENOSPC.
    """
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def make_folder(folder: Path) -> list[Path]:
    """Make `folder` and return the folders that had to be made, innermost first."""
    made = []
    candidate = folder
    while not candidate.exists():
        made.append(candidate)
        candidate = candidate.parent
    folder.mkdir(parents=True, exist_ok=True)
    return made


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
