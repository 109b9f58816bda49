"""Reading of untrusted text, JSON and YAML files, with limits on size, depth and number of values."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from acreg.errors import AcregError
from acreg.io.atomic import atomic_path
from acreg.io.guards.text import (
    DEPTH,
    JSON_LIMIT,
    TEXT_LIMIT,
    YAML_LIMIT,
    check_characters,
    check_depth,
    check_events,
    check_regular,
    size_in_words,
)


def _without_waiting(path: str, flags: int) -> int:
    """Open without blocking: some files in /proc, regular by their status, block their readers."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


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
            raise ValueError(f"more than {size_in_words(limit)}")
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
        check_depth(content)
        check_characters(text, content)
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
        check_events(text)
        content = yaml.load(text, Loader=_Loader)
        check_characters(text, content)
        return content


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which silently keeps the last of two equal keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            raise yaml.constructor.ConstructorError(None, None, f"the key {_repeated(names)!r} twice in a mapping")
        return super().construct_mapping(node, deep)


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
