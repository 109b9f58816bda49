"""Folders that only one process at a time may write into, and results that appear in them all together.

The lock is a file, `.acreg.lock`, that the writing process holds locked. The operating system releases it when the
process ends, however it ends, so that a killed process does not block others. On NFS it works if the server supports
locks, also between machines. Everything that a killed process can leave behind has a hidden name: the lock file,
temporary files, and results that are complete but not yet in place (`.acreg.ready`). The next process that writes into
the folder puts the results in place and removes the other files.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import json
import os
import secrets
import shutil
import socket
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from acreg.errors import AcregError, UsageError
from acreg.io.atomic import TEMPORARY, folder_errors, make_folder
from acreg.io.guards import check_utf8

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")

LOCK, READY = ".acreg.lock", ".acreg.ready"
REPLACED = ".acreg.replaced"
"""In `READY`: the names of the files that the results replace."""

_held: dict[Path, tuple[int, int]] = {}
"""For each folder that this process writes into: the thread, and the descriptor of the lock file."""


@contextlib.contextmanager
def sole_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Prevent other processes from writing into `folder`, which is created if absent, until the block ends.

    A thread that holds the folder already may enter again. Processes that it starts to share its work write under its
    lock; they do not keep the lock when it ends. A folder that was created and is still empty at the end is removed.

    Raises:
        UsageError: `folder` is a file.
        AcregError: another process, or another thread of this one, writes into it, or its name is not in UTF-8.
        OSError: the folder or the lock file cannot be made (disk full, permission).
    """
    folder = Path(folder)
    check_utf8(folder)
    with folder_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"The output must be a folder. Received: {folder}, a file. Name another folder.")
    key = folder.resolve()
    if key in _held and _held[key][0] == threading.get_ident():
        yield
        return
    made = make_folder(folder)
    try:
        abandoned = (folder / LOCK).exists()
        descriptor = _take(folder)
        _held[key] = threading.get_ident(), descriptor
        try:
            if abandoned:
                for path in [path for path in folder.rglob(".*") if TEMPORARY.fullmatch(path.name)]:
                    _remove(path)
            _put_in_place(folder)
            yield
        finally:
            del _held[key]
            with contextlib.suppress(OSError):  # while locked: a later file may belong to another process
                (folder / LOCK).unlink()
            os.close(descriptor)
    finally:
        for each in made:
            with contextlib.suppress(OSError):  # not empty
                each.rmdir()


def writes_into(argument: str) -> Callable[[Callable[Arguments, Returned]], Callable[Arguments, Returned]]:
    """Decorate a function that writes into the folder named by its parameter `argument`: see `sole_writer`."""

    def decorate(function: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def alone(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
            with sole_writer(signature.bind(*args, **kwargs).arguments[argument]):
                return function(*args, **kwargs)

        return alone

    return decorate


@contextlib.contextmanager
def all_or_none(folder: str | os.PathLike[str], replaced: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield a hidden folder in `folder`; its files are moved into `folder` when the block ends without an error.

    After an error, such as a full disk, `folder` is unchanged. After a kill, either `folder` is unchanged or the new
    files are complete: if the process was killed while they were moved, the next process that writes there moves the
    others.

    Args:
        folder: folder of the results; see `sole_writer`, whose errors are raised.
        replaced: files in `folder` that are removed when the new files are moved, whether or not new files have the
            same names.

    Raises:
        AcregError: a new file has the name of an existing folder.
    """
    folder = Path(folder)
    with sole_writer(folder):
        staged = folder / f".{secrets.token_hex(6)}.tmp"
        try:
            staged.mkdir()
            yield staged
            for path in staged.rglob("*"):
                target = folder / path.relative_to(staged)
                if target.exists() and path.is_dir() != target.is_dir():
                    raise AcregError(
                        f"A file cannot be written where a folder is, nor a folder where a file is. Received: {target}."
                        " Choose another folder for the results."
                    )
            names = [path.relative_to(folder).as_posix() for path in replaced]
            (staged / REPLACED).write_text(json.dumps(names), encoding="utf-8")
            staged.rename(folder / READY)
        except BaseException:
            _remove(staged)
            raise
        _put_in_place(folder)


def contents(folder: Path) -> list[Path]:
    """The contents of a folder, which need not exist, without what a killed process leaves behind."""
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if path.name != LOCK and not TEMPORARY.fullmatch(path.name)]


def _put_in_place(folder: Path) -> None:
    """Move complete results into place; after a kill, it can be called again."""
    ready = folder / READY
    if not ready.is_dir():
        return
    names = ready / REPLACED
    if names.is_file():
        for name in json.loads(names.read_text(encoding="utf-8")):
            (folder / name).unlink(missing_ok=True)
        names.unlink()  # from here on, new files can have these names
    _merge(ready, folder)
    _remove(ready)


def _merge(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.is_dir() and (target / path.name).is_dir():
            _merge(path, target / path.name)
        else:
            os.replace(path, target / path.name)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path, ignore_errors=True)


def _take(folder: Path) -> int:
    """The descriptor of the folder's lock file, locked."""
    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with folder_errors(folder, passed=(errno.ENOENT,)):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the process that made the folder just removed it
            continue
        try:
            if not _lock(descriptor):
                holder = os.read(descriptor, 1000).decode("utf-8", errors="replace")
                raise AcregError(
                    f"One process at a time writes into a folder. Received: {folder}, into which another one writes"
                    f"{f' ({holder})' if holder else ''}. Wait until it is done, or choose another folder."
                )
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
                with contextlib.suppress(OSError):  # a full disk: the lock works without its text
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its process ended and removed it while it was opened here


def _lock(descriptor: int) -> bool:
    """Lock an open file, unless another process has it locked."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        module: Any = msvcrt
        os.lseek(descriptor, 2**20, os.SEEK_SET)  # after the text, which stays readable
        try:
            module.locking(descriptor, module.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks
        warnings.warn(
            f"Nothing keeps a second process from writing into the same folder: its file system has no locks "
            f"({error.strerror}). Start one at a time.",
            stacklevel=5,
        )
    return True


def _forget() -> None:
    """In a forked process: the locks belong to the parent process and end with it."""
    for _, descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
