"""Limits for untrusted text, JSON and YAML: on size, depth and number of values."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from acreg.errors import AcregError, quiet

TEXT_LIMIT = 2**27
"""Largest size of a text file in bytes: 128 MiB, which is a table of a million rows."""
JSON_LIMIT = 2**26
YAML_LIMIT = 2**17
"""Largest size of a YAML file in bytes. A recipe has 2 KiB; PyYAML reads about 100 KiB per second."""
DEPTH = 64
"""Largest depth of nested lists and mappings."""
VALUES = 100_000
"""Largest number of values of a YAML text; the values of an alias count each time it is used."""


def check_regular(path: str | os.PathLike[str], limit: int, what: str) -> Path:
    """Raise `AcregError` unless `path` is a file, or a link to one, of at most `limit` bytes.

    Reading from a pipe would block, and a device such as /dev/zero has no end.

    Args:
        path: the file.
        limit: in bytes.
        what: the word for the file in messages, such as "recipe".
    """
    path = Path(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL character
        reason = getattr(error, "strerror", None) or error
        raise AcregError(
            f"A {what} must be a file that exists. Received: {path} ({reason}). Check its name and folder."
        ) from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise AcregError(f"A {what} must be a file. Received: {path}, {kind}. Name a file.")
    if status.st_size > limit:
        raise AcregError(
            f"A {what} has at most {size_in_words(limit)}. Received: {path} of {size_in_words(status.st_size)}. It is "
            "damaged or another file; get it again."
        )
    return path


def size_in_words(count: int) -> str:
    """A number of bytes as shown in messages, such as "128 MiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"


def check_depth(content: Any) -> None:
    """Without recursion."""
    level, depth = [[content]], 0
    while level := [item for each in level for item in _items(each)]:
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"lists and objects more than {DEPTH} deep")


def check_characters(text: str, content: Any) -> None:
    """Refuse unpaired surrogates, which can be written as an escape but not stored as UTF-8."""
    if "\\u" in text.lower():
        json.dumps(content, ensure_ascii=False, default=str, skipkeys=True).encode("utf-8")


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (item for item in value.values() if isinstance(item, (dict, list)))
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, (dict, list)))


def check_events(text: str) -> None:
    """Count values and their depth, with each alias expanded; PyYAML would create all of them."""
    sizes: dict[str, tuple[int, int]] = {}  # of finished anchors: values, depth
    open_: list[tuple[str | None, int, int]] = []  # anchor, values so far, depth so far
    anchors: set[str] = set()

    def add(values: int, depth: int) -> None:
        if len(open_) + depth > DEPTH:
            raise ValueError(f"lists and mappings more than {DEPTH} deep")
        if values > VALUES:
            raise ValueError(f"more than {VALUES} values")
        if open_:
            anchor, before, deepest = open_[-1]
            open_[-1] = anchor, before + values, max(deepest, depth + 1)
            if before + values > VALUES:
                raise ValueError(f"more than {VALUES} values")

    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors and event.anchor not in sizes:
                raise ValueError(f"the alias *{event.anchor} inside of what it stands for")
            add(*sizes.get(str(event.anchor), (1, 0)))  # an unknown one is refused by PyYAML
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                anchors.add(event.anchor)
                sizes[event.anchor] = 1, 0
            add(1, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.anchor is not None:
                anchors.add(event.anchor)
                sizes.pop(event.anchor, None)
            open_.append((event.anchor, 1, 1))
            add(0, 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values, depth = open_.pop()
            if anchor is not None:
                sizes[anchor] = values, depth
            add(values, depth)


def parse_numbers(text: bytes) -> np.ndarray:
    """The numbers, float64, of a text in which only spaces and line ends separate them.

    Raises:
        ValueError: a word is not a number.
    """
    if re.search(rb"[^0-9+\-.eE\s]", text):
        raise ValueError("a word is no number")
    spaces = np.frombuffer(b" " + text, np.uint8) <= ord(" ")
    words = int(np.count_nonzero(spaces[:-1] & ~spaces[1:]))
    if not words:
        return np.zeros(0)
    with quiet(DeprecationWarning):  # NumPy stops where a word is no number, and warns
        values = np.fromstring(text.decode("ascii"), sep=" ")
    float(text.rsplit(maxsplit=1)[-1])  # of the last word, it may have read a part
    if len(values) != words:
        raise ValueError("a word is no number")
    return values
