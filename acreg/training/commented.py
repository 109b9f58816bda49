"""A recipe as YAML in which each key has a comment: what the docstring of its section or class says of it."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from acreg.data.sampling.augmentation import Augmentation
from acreg.training.schema import ModelSection, Recipe

WIDTH = 110
INDENT = "  "
_HEADING = re.compile(r"Arg(?:ument)?s:")
_ENTRY = re.compile(r" {4}(\*{0,2}\w+(?:, \w+)*)(?: \([^)]*\))?:(?: (.*))?")
_REFERENCE = re.compile(r"see `(\w+(?:\.\w+)+)`")


def described_arguments(documented: type) -> dict[str, str]:
    """What the docstrings of a class and of its base classes say of each argument, each on one line.

    "a, b: see `package.Class`" stands for what the docstring of that class says of `a` and of `b`.
    """
    found: dict[str, str] = {}
    for part in documented.__mro__:
        for names, text in _entries(inspect.cleandoc(part.__dict__.get("__doc__") or "")):
            reference = _REFERENCE.match(text)
            other = described_arguments(_imported(reference[1])) if reference else {}
            for name in names:
                found.setdefault(name, other.get(name, text))
    return found


def commented_yaml(recipe: Recipe, model_class: type) -> str:
    """The recipe as YAML, which `load_recipe` reads as an equal recipe.

    Arguments:
        recipe: written with every key, except for augmentations that are switched off.
        model_class: its `model.class`, whose docstring describes `model.arguments`.
    """
    return "\n".join(_section(recipe, model_class, "")) + "\n"


def comment(text: str, indent: str = "") -> list[str]:
    """A text as lines of a comment."""
    plain = text.replace("``", "`")
    begin = f"{indent}# "
    return textwrap.wrap(
        plain[:1].upper() + plain[1:], WIDTH, initial_indent=begin, subsequent_indent=begin, break_on_hyphens=False
    )


def _section(section: BaseModel, model_class: type, indent: str) -> Iterator[str]:
    described = described_arguments(type(section))
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), field.alias or name
        if not indent:
            yield ""
        yield from comment(described.get(name, described.get(key, "")), indent)
        if isinstance(section, ModelSection) and name == "arguments":
            yield f"{indent}{key}:" + ("" if value else " {}")
            yield from _arguments(value, described_arguments(model_class), indent + INDENT)
        elif isinstance(value, Augmentation) and value == Augmentation():
            yield f"{indent}{key}: {{}}"
        elif isinstance(value, BaseModel):
            yield f"{indent}{key}:"
            yield from _section(value, model_class, indent + INDENT)
        else:
            yield _line(key, section.model_dump(mode="json", include={name})[name], indent)


def _arguments(values: Mapping[str, Any], described: Mapping[str, str], indent: str) -> Iterator[str]:
    for name, value in values.items():
        yield from comment(described.get(name, ""), indent)
        yield _line(name, value, indent)


def _line(key: str, value: Any, indent: str) -> str:
    """`key: value`, with lists and mappings on the same line."""
    pair = {key: value}
    text = yaml.safe_dump(pair, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return indent + text.strip()[1:-1]


def _entries(text: str) -> Iterator[tuple[list[str], str]]:
    """The names and the text of each entry below the heading of the arguments."""
    names: list[str] = []
    words: list[str] = []
    inside = False
    for line in [*filter(None, text.splitlines()), "end"]:
        entry = _ENTRY.fullmatch(line) if inside else None
        if names and (entry or not line.startswith(" " * 5)):
            yield names, " ".join(words)
            names, words = [], []
        if entry:
            names, words = entry[1].split(", "), [entry[2] or ""]
        elif names:
            words.append(line.strip())
        elif not line.startswith(" "):
            inside = _HEADING.fullmatch(line) is not None


def _imported(name: str) -> type:
    module, _, attribute = name.rpartition(".")
    found: type = getattr(importlib.import_module(module), attribute)
    return found
