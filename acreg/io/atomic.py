"""Files are written under a temporary name and then renamed: a reader sees the old or the new file, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.guards import check_utf8

TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.tmp.*")
"""The names of temporary files and folders, which a killed process leaves behind."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` when the block ends without an error.

    The temporary file is in the same folder (created if absent) and has the same suffixes, because writers choose
    their format by them. On any error, including an interrupt from the keyboard, the temporary file is removed and an
    existing file at `path` stays as it was.

    Args:
        path: the file to be written.

    Raises:
        AcregError: `path` is an existing folder, device or pipe, or not in UTF-8, no file can be created there, or
            the block ended without writing anything.
        OSError: the disk is full, or the writing in the block failed.

    Example:
        >>> with atomic_path("runs/a/metrics.csv") as temporary:
        ...     temporary.write_text("step,loss\\n")
    """
    path = Path(path)
    check_utf8(path)
    with folder_errors(path):  # a name that is too long
        is_folder, is_other = path.is_dir(), path.exists() and not path.is_file()
    if is_folder:
        raise AcregError(
            f"A file cannot be written where a folder is. Received: {path}. Give the name of a file in it."
        )
    if is_other:  # renaming would replace it, for root even /dev/null
        raise AcregError(
            f"Results are written to files. Received: {path}, which is a device or a pipe. Give the name of a file."
        )
    made = make_folder(path.parent)
    # Absolute, because some writers take a leading ~ for the home folder.
    temporary = Path(os.path.abspath(path.parent)) / f".{secrets.token_hex(6)}.tmp{''.join(path.suffixes)}"
    try:
        _try_to_write(temporary, path.parent)
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


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise an error now, instead of after the work, if no file can be written in `folder`.

    A missing folder is created for the check and removed again.

    Raises:
        AcregError: the folder cannot be made, or no file in it.
        OSError: the disk is full.
    """
    folder = Path(folder)
    made = make_folder(folder)
    try:
        _try_to_write(folder / f".{secrets.token_hex(6)}.tmp", folder)
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


def require_space(path: str | os.PathLike[str], size: int) -> None:
    """Raise the error of a full disk now if `size` bytes do not fit where `path` will be written.

    This is for writers that do not survive a full disk: HDF5 crashes the whole process when it closes such a file.

    Raises:
        OSError: with errno ENOSPC.
    """
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def make_folder(folder: Path) -> list[Path]:
    """Create `folder` and return the folders that had to be created, innermost first."""
    made: list[Path] = []
    with folder_errors(folder):
        candidate = folder
        while not candidate.exists():
            made.append(candidate)
            candidate = candidate.parent
        if made and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:$", folder.parts[0]):
            raise OSError(errno.EINVAL, "this is an address, not a folder of this machine")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            for each in made:
                with contextlib.suppress(OSError):
                    each.rmdir()
            raise
    return made


def _try_to_write(temporary: Path, folder: Path) -> None:
    with folder_errors(folder):
        temporary.touch()
        temporary.unlink()


@contextlib.contextmanager
def folder_errors(folder: Path, passed: Collection[int] = ()) -> Iterator[None]:
    """Report that results cannot be written to the folder, for all errors except a full disk and those in `passed`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, *passed):
            raise
        reason = f"The system says: {error.strerror or error}"
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            reason = "Something that is no folder has that name, or stands on the way there"
        shown = str(folder) if len(str(folder)) <= 200 else f"{str(folder)[:90]}...{str(folder)[-90:]}"
        raise AcregError(
            "Results are written to a folder that is there and may be written to, or that can be made. "
            f"Received: {shown}. {reason}. Choose another place."
        ) from error


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
