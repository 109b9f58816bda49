"""Reading of untrusted text, JSON and YAML files, with limits on size, depth and number of values."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from acreg.errors import AcregError
from acreg.io.atomic import atomic_path

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
            f"A {what} has at most {_size(limit)}. Received: {path} of {_size(status.st_size)}. It is damaged or "
            "another file; get it again."
        )
    return path


def _without_waiting(path: str, flags: int) -> int:
    """Open without blocking: some files in /proc, regular by their status, block their readers."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"


def read_text(path: str | os.PathLike[str], what: str, limit: int = TEXT_LIMIT) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        AcregError: the file is missing, not a regular file, too large, not readable, or not UTF-8; `what` names its
            kind.
    """
    path = check_regular(path, limit, what)
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            content = file.read(limit + 1) or b""  # a file in /proc has the size 0
        if len(content) > limit:
            raise ValueError(f"more than {_size(limit)}")
        return content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AcregError(
            f"A {what} must be readable text in UTF-8. Received: {path} ({reason}). Save it again in UTF-8, or get it "
            "again."
        ) from error


def read_json(path: str | os.PathLike[str], what: str, limit: int = JSON_LIMIT) -> Any:
    """The content of a JSON file.

    Raises:
        AcregError: as `read_text`, and see `parse_json`.
    """
    return parse_json(read_text(path, what, limit), f"{what} {path}")


def parse_json(text: str, where: str) -> Any:
    """The content of a JSON text.

    Raises:
        AcregError: the text is not JSON, an object has a key twice, a number is not in JSON (NaN, Infinity), or lists
            and objects are nested more than `DEPTH` deep. `where` names the source of the text.
    """
    with _parsing(where, "JSON"):
        content = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)
        _check_depth(content)
        _check_characters(text, content)
        return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"the key {_repeated([name for name, _ in pairs])!r} twice in an object")
    return content


def _repeated(names: list[str]) -> str:
    return Counter(names).most_common(1)[0][0]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the number {name}")


def _check_depth(content: Any) -> None:
    """Without recursion."""
    level, depth = [[content]], 0
    while level := [item for each in level for item in _items(each)]:
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"lists and objects more than {DEPTH} deep")


def _check_characters(text: str, content: Any) -> None:
    """Refuse unpaired surrogates, which can be written as an escape but not stored as UTF-8."""
    if "\\u" in text.lower():
        json.dumps(content, ensure_ascii=False, default=str, skipkeys=True).encode("utf-8")


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (item for item in value.values() if isinstance(item, (dict, list)))
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, (dict, list)))


def read_yaml(path: str | os.PathLike[str], what: str) -> Any:
    """The content of a YAML file of plain values.

    Raises:
        AcregError: as `read_text`, and see `parse_yaml`.
    """
    return parse_yaml(read_text(path, what, YAML_LIMIT), f"{what} {path}")


def parse_yaml(text: str, where: str) -> Any:
    """The content of a YAML text of plain values.

    Raises:
        AcregError: the text is not YAML, a mapping has a key twice, a tag creates an object, lists and mappings are
            nested more than `DEPTH` deep or contain themselves, or there are more than `VALUES` values.
    """
    with _parsing(where, "YAML"):
        _check_events(text)
        content = yaml.load(text, Loader=_Loader)
        _check_characters(text, content)
        return content


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which silently keeps the last of two equal keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            raise yaml.constructor.ConstructorError(None, None, f"the key {_repeated(names)!r} twice in a mapping")
        return super().construct_mapping(node, deep)


def _check_events(text: str) -> None:
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


@contextlib.contextmanager
def _parsing(where: str, language: str) -> Iterator[None]:
    """Turn any error of a parser into one paragraph. PyYAML raises many types, such as KeyError for `!!bool x`."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, RecursionError):
            reason = f"lists and objects more than {DEPTH} deep"
        elif not isinstance(error, (ValueError, yaml.YAMLError)):
            reason = "a value that does not fit its tag"
        raise AcregError(
            f"The content must be legal {language}, of plain values. Received: the {where} ({reason}). Correct it, or "
            "get it again."
        ) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON that every reader accepts: values that are not finite are not allowed."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
