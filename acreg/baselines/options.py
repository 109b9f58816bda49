"""Options of a classical method in its name: `greedy:svf[smoothing=1,affine=false]`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from acreg.errors import UsageError

Value = bool | int | float | tuple[int, ...]
Options = Mapping[str, Value]


def split_name(name: str) -> tuple[str, str]:
    """The method and the text in the brackets at the end of its name, "" without brackets."""
    found = re.fullmatch(r"([^\[\]]*)\[([^\[\]]*)\]", name)
    return (found[1], found[2]) if found else (name, "")


def read_options(method: str, text: str, defaults: Options) -> dict[str, Value]:
    """The defaults, updated by the options in `text`: `name=value`, separated by commas.

    A value has the type of its default: true or false, a positive number, or integers such as 100x50x25.

    Raises:
        UsageError: an option does not exist or is given twice, or its value has another type.
    """
    chosen: dict[str, Value] = {}
    for part in text.split(",") if text.strip() else ():
        name, _, value = (word.strip() for word in part.partition("="))
        read = _read(value, defaults[name]) if name in defaults else None
        if read is None or name in chosen:
            known = ", ".join(f"{known}={written(default)}" for known, default in defaults.items()) or "none"
            raise UsageError(
                "A classical method takes, in brackets, each of its options once, with a value like its default: true "
                "or false, a positive number, or positive whole numbers with an x between, one a level. "
                f"Received: {part.strip()!r} for {method}, whose options are {known}. Correct it."
            )
        chosen[name] = read
    return {**defaults, **chosen}


def with_options(method: str, options: Options) -> str:
    """The name of a method with these options."""
    return f"{method}[{','.join(f'{name}={written(value)}' for name, value in options.items())}]" if options else method


def written(value: Value) -> str:
    """A value as written in names."""
    if isinstance(value, bool):
        return str(value).lower()
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(text: str, default: Value) -> Value | None:
    """A value of the default's type; None if the text is not one."""
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
