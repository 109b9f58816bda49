"""Reading of text, JSON and YAML files, which may come from strangers: of limited size, depth and number of values."""

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
"""Bytes of a text file that are read at most: 128 MiB, a table of a million rows."""
JSON_LIMIT = 2**26
YAML_LIMIT = 2**17
"""A recipe has 2 KiB; PyYAML reads some 100 KiB a second."""
DEPTH = 64
"""Lists and mappings that may lie in each other."""
VALUES = 100_000
"""Values of a YAML text, those of an alias counted each time that it is used."""


def check_regular(path: str | os.PathLike[str], limit: int, what: str) -> Path:
    """Raise `AcregError` unless `path` is a file, or a link to one, of at most `limit` bytes.

    A pipe would be waited for, and a device such as /dev/zero has no end.

    Args:
        path: the file.
        limit: in bytes.
        what: the word for it in the message: "recipe".
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
    """Some files in /proc, regular by their status, have their readers wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"


def read_text(path: str | os.PathLike[str], what: str, limit: int = TEXT_LIMIT) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        AcregError: no such file, no regular one, too large, not readable, or no UTF-8; `what` names its kind.
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
        AcregError: no JSON, a key twice in an object, a number that JSON does not have (NaN, Infinity), or lists and
            objects more than `DEPTH` deep. `where` says where the text comes from.
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
    """Refuse halves of characters, which can be written as an escape and not be stored as UTF-8."""
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
        AcregError: no YAML, a key twice in a mapping, a tag that makes an object, lists and mappings more than `DEPTH`
            deep or that contain themselves, or more than `VALUES` values.
    """
    with _parsing(where, "YAML"):
        _check_events(text)
        content = yaml.load(text, Loader=_Loader)
        _check_characters(text, content)
        return content


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which keeps the last of two equal keys in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            raise yaml.constructor.ConstructorError(None, None, f"the key {_repeated(names)!r} twice in a mapping")
        return super().construct_mapping(node, deep)


def _check_events(text: str) -> None:
    """Count values, and how deep they lie, with each alias as what it stands for; PyYAML would make them all."""
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
    """One paragraph for what a parser raises. PyYAML has many types, such as KeyError for `!!bool x`."""
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
