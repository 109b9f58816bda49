"""Options of a method in its name: `greedy:svf[smoothing=1,affine=false]`, `acreg:deformable[similarity=local_ncc]`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from acreg.errors import UsageError

Value = bool | int | float | str | tuple[int, ...]
Options = Mapping[str, Value]


def split_name(name: str) -> tuple[str, str]:
    """The method and the text in the brackets at the end of its name, "" without brackets."""
    found = re.fullmatch(r"([^\[\]]*)\[([^\[\]]*)\]", name)
    return (found[1], found[2]) if found else (name, "")


def read_options(
    method: str, text: str, defaults: Options, words: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Value]:
    """The defaults, updated by the options in `text`: `name=value`, separated by commas.

    A value has the type of its default: true or false, a positive number, integers such as 100x50x25, or one of some
    words; any name, if the default is "".

    Args:
        method: its name, for messages.
        text: what stands in the brackets.
        defaults: of all options.
        words: for each option whose default is a word, the words that it may be.

    Raises:
        UsageError: an option does not exist or is given twice, or its value has another type.
    """
    words = words or {}
    chosen: dict[str, Value] = {}
    for part in text.split(",") if text.strip() else ():
        name, _, value = (word.strip() for word in part.partition("="))
        read = _read(value, defaults[name], words.get(name, ())) if name in defaults else None
        if read is None or name in chosen:
            known = ", ".join(_described(option, default, words) for option, default in defaults.items()) or "none"
            raise UsageError(
                "A method takes, in brackets, each of its options once, with a value like its default: true or false, "
                "a positive number, positive whole numbers with an x between, one a level, or one of the words that "
                f"are listed. Received: {part.strip()!r} for {method}, whose options are {known}. Correct it."
            )
        chosen[name] = read
    return {**defaults, **chosen}


def _described(name: str, default: Value, words: Mapping[str, Sequence[str]]) -> str:
    """An option with its default, followed by the other words that it may be."""
    return "|".join([f"{name}={written(default)}", *(word for word in words.get(name, ()) if word != default)])


def with_options(method: str, options: Options) -> str:
    """The name of a method with these options."""
    return f"{method}[{','.join(f'{name}={written(value)}' for name, value in options.items())}]" if options else method


def written(value: Value) -> str:
    """A value as written in names."""
    if isinstance(value, bool):
        return str(value).lower()
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(text: str, default: Value, words: Sequence[str]) -> Value | None:
    """A value of the default's type; None if the text is not one."""
    if isinstance(default, str):
        return text if text in words or (text and not default) else None
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text)
    if isinstance(default, tuple):
        return tuple(map(int, text.split("x"))) if re.fullmatch(r"0*[1-9]\d*(x0*[1-9]\d*)*", text, re.ASCII) else None
    if isinstance(default, int):
        return int(text) if re.fullmatch(r"0*[1-9]\d*", text, re.ASCII) else None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None
