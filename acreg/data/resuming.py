"""What all preparations have in common: they recognise finished and interrupted runs, and use several processes.

They write ``dataset.json`` (with the settings), then the files of each subject, then ``manifest.csv``. So a folder
with a manifest is complete; one without is from an interrupted run.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from acreg.data.manifest import Dataset
from acreg.data.records import DatasetInfo, read_info
from acreg.errors import UsageError
from acreg.io.claims import occupied

Task = TypeVar("Task")
Result = TypeVar("Result")

FOUND = ("centred_only", "alignment")
"""Keys that a preparation computes, in contrast to its settings."""
FILES = "files"
"""The key of the digest of the source's contents."""
LEAVINGS = ("images/*.png", "labels/*.png", "images/*.h5", "labels/*.h5", "transforms/*.tfm*", "alignment.csv")


def check_least(**limits: tuple[int, int]) -> None:
    """Refuse numbers below their minimum, each given as ``name=(value, minimum)``.

    Raises:
        UsageError: a number is too small; the message has the first such name.
    """
    for name, (value, least) in limits.items():
        if value < least:
            raise UsageError(f"The {name} is at least {least}. Received: {name}={value}. Give a larger number.")


def finished_dataset(out: Path, info: DatasetInfo, force: bool) -> Dataset | None:
    """The dataset in ``out`` if it is this one and complete; else prepares the folder, and refuses other contents."""
    manifest, settings = out / "manifest.csv", out / "dataset.json"
    old = read_info(settings) if settings.is_file() else None
    if (old is None or "version" not in old.preparation) and (manifest.exists() or any(out.glob("images/*"))):
        raise occupied(out, "images that `acreg data prepare` did not write")
    same = old is not None and _settings(old) == _settings(info) and same_files(old, info)
    if same and manifest.is_file() and not force:
        return Dataset.load(out)
    if manifest.is_file() and not force:
        raise occupied(out, f"{old.name if old else 'one'} prepared with other settings", "give --force to replace it")
    manifest.unlink(missing_ok=True)
    if old is not None and (force or not same):
        for pattern in LEAVINGS:
            for path in out.glob(pattern):
                path.unlink()
    elif old is not None and "centred_only" in old.preparation:
        info.preparation["centred_only"] = old.preparation["centred_only"]
    return None


def run_tasks(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    """The results of ``work`` for each task, in order of completion; ``work`` is a module-level function.

    The processes end with this one, even if it is killed.
    """
    if jobs == 1:
        yield from map(work, tasks)
        return
    # "spawn": a forked child would inherit the threads of SimpleITK and NumPy in an unknown state.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_end_with_parent) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended: idle processes of a pool would wait forever."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _settings(info: DatasetInfo) -> tuple[str, dict[str, Any]]:
    """The settings that determine the files; labels and spacing follow from them or are known only at the end."""
    return info.name, {key: value for key, value in info.preparation.items() if key not in (*FOUND, FILES)}


def same_files(old: DatasetInfo, info: DatasetInfo) -> bool:
    """Whether both were made of the same contents; a dataset of an earlier version does not say."""
    return bool(old.preparation.get(FILES, info.preparation[FILES]) == info.preparation[FILES])
