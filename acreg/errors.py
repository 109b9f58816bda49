"""Errors that acreg raises for a user's input.

Each message is one paragraph: the rule, what was received, and what to do. The command line prints it without a
traceback and exits with ``exit_code``.
"""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

__all__ = ["AcregError", "DoubtfulResult", "Requeue", "UsageError"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_options: ContextVar[bool] = ContextVar("options", default=False)
"""Whether messages name arguments as on the command line."""

_quiet: ContextVar[tuple[type[Warning], ...]] = ContextVar("quiet", default=())
"""The categories of warnings that `quiet` suppresses."""


class AcregError(ValueError):
    """Something is wrong in the data or in a run (exit code 1)."""

    exit_code = 1


class UsageError(AcregError):
    """The call itself is wrong: arguments, names, recipe keys (exit code 2)."""

    exit_code = 2


class Requeue(AcregError):
    """The work was stopped from outside and continues when it is started again (exit code 75, EX_TEMPFAIL)."""

    exit_code = 75


class DoubtfulResult(UserWarning):
    """A result has concerns: look at it before you use it.

    ``warnings.simplefilter("error", DoubtfulResult)`` turns these warnings into errors.
    """


class _Suppressed(type):
    """Makes a class of which the categories that `quiet` suppresses here and now are subclasses."""

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _quiet.get())


class _SuppressedWarning(Warning, metaclass=_Suppressed):
    """The category of the one filter that `quiet` adds to Python's."""


@contextmanager
def quiet(category: type[Warning]) -> Iterator[None]:
    """A context that suppresses warnings of a category in its own thread only.

    `warnings.catch_warnings` changes and restores the filters of the whole process. Where two threads use it at once,
    it suppresses the other's warnings, and the last one to leave may leave a filter that suppresses all later ones.
    """
    token = _quiet.set((*_quiet.get(), category))
    try:
        warnings.simplefilter("ignore", _SuppressedWarning)
        yield
    finally:
        _quiet.reset(token)


@contextmanager
def options_named() -> Iterator[None]:
    """A context in which `argument` returns the names of options on the command line."""
    token = _options.set(True)
    try:
        yield
    finally:
        _options.reset(token)


def argument(name: str, *value: object) -> str:
    """The name of an argument in a message: ``fill`` or ``fill=3``; on the command line ``--fill`` or ``--fill 3``.

    Args:
        name: the name of the argument, which is that of the option with ``_`` instead of ``-``.
        value: the value, if the message shows it; True is an option without a value.
    """
    if _options.get():
        shown = (f"{one:g}" if isinstance(one, float) else str(one) for one in value if one is not True)
        return " ".join(["--" + name.replace("_", "-"), *shown])
    return "=".join([name, *(str(one) if isinstance(one, os.PathLike) else repr(one) for one in value)])


def images_by_name(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a function whose two images, `fixed` and `moving`, are keyword-only, so that its error explains why.

    Programs differ in the order of the two images, and a swapped pair is registered without an error, in the wrong
    direction.
    """
    kinds = (parameter.kind for parameter in inspect.signature(function).parameters.values())
    allowed = sum(kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)

    @functools.wraps(function)
    def called(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if len(args) > allowed:
            raise UsageError(
                "Two images that are registered are given by name, because programs differ in their order. Received: "
                f"{len(args) - allowed} more positional arguments than {function.__name__} takes. "
                f"Write {function.__name__}(fixed=..., moving=...): moving is pulled onto fixed."
            )
        return function(*args, **kwargs)

    return called
