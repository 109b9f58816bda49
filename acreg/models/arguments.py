"""Checks of a model's arguments before anything is built, because presets and recipes may be untrusted."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_type_hints

import keras
from pydantic import ConfigDict, Field, ValidationError, create_model

from acreg.errors import AcregError
from acreg.inference.memory import available_bytes
from acreg.io.preset_config import faults
from acreg.models.registered import names_in_scope

LARGEST = {
    "seed": 2**31,
    "pretraining_steps": 2**31,
    "blocks": 256,
    "levels": 16,
    "in_plane_levels": 16,
    "affine_passes": 64,
    "affine_moments": 8,
    "integration_steps": 32,
    "downsize": 1024,
}
"""Limit for integers that count repetitions; for others, such as widths, see `WIDTH`."""
WIDTH = 2**16
LENGTH = 16
"""Limit for the length of a list: levels of a network, each of which halves the grid."""
TEXT = 4096
OPTIONS = 100
"""Limit for the size of a mapping: losses."""


def constructor_types(model: type) -> dict[str, Any]:
    """The arguments of a model's constructor and their types, including those passed on to its base classes."""
    known: dict[str, Any] = {}
    for parent in model.__mro__:
        if parent is keras.Model:  # Keras's own arguments, such as `dtype`, do not belong in presets and recipes
            break
        constructor = vars(parent).get("__init__")
        if constructor is None:
            continue
        types = get_type_hints(constructor)
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        made = vars(parent).get("GIVEN_BY_SUBCLASSES", ())
        found = {p.name: types.get(p.name, Any) for p in parameters if p.kind in NAMED}
        known = {**{name: kind for name, kind in found.items() if name not in made}, **known}
        if made or not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return known


NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_arguments(model: type, arguments: Mapping[str, Any]) -> None:
    """Check names, types and sizes of the arguments of a model, as read from JSON or YAML.

    Raises:
        ValueError: an argument that the constructor does not have, an argument of another type, or a number, list or
            text that is too large. The message says which.
    """
    types = constructor_types(model)
    for name in arguments:
        if name not in types:
            close = difflib.get_close_matches(str(name), types, n=1)
            raise ValueError(
                f"{model.__name__} has no argument {str(name)[:100]!r}"
                + (f"; did you mean {close[0]}?" if close else "")
            )
    fields: Any = {f"{name}_": (types[name], Field(alias=name)) for name in arguments}  # none may be called `copy`
    schema = create_model("Arguments", __config__=ConfigDict(strict=True, arbitrary_types_allowed=True), **fields)
    try:
        schema.model_validate(dict(arguments))
    except ValidationError as error:
        raise ValueError(f"{model.__name__}: {faults(error)}") from error
    for name, value in arguments.items():
        _check_size(name, name, value)


def _check_size(key: str, place: str, value: Any) -> None:
    limit = LARGEST.get(key, WIDTH)
    if isinstance(value, Mapping):
        _refuse(len(value) > OPTIONS, place, f"{len(value)} entries", f"at most {OPTIONS}")
        for inner, item in value.items():
            _check_size(str(inner), f"{place}.{str(inner)[:100]}", item)
    elif isinstance(value, (list, tuple)):
        _refuse(len(value) > LENGTH, place, f"{len(value)} entries", f"at most {LENGTH}")
        for item in value:
            _check_size(key, place, item)
    elif isinstance(value, str):
        _refuse(len(value) > TEXT, place, f"{len(value)} characters", f"at most {TEXT}")
    elif isinstance(value, int) and not isinstance(value, bool):
        _refuse(not 0 <= value <= limit, place, str(value)[:40], f"from 0 to {limit}")
    elif isinstance(value, float):
        _refuse(not math.isfinite(value), place, str(value), "finite")


def _refuse(wrong: bool, place: str, found: str, rule: str) -> None:
    if wrong:
        raise ValueError(f"{place} must be {rule}, not {found}")


def count_weights(model: type, arguments: Mapping[str, Any]) -> int:
    """The number of weights of a model, counted without allocating them, and without the weights of its losses.

    Raises:
        Exception: whatever the constructor raises.
    """

    in_scope = names_in_scope()

    def count() -> int:
        # variables have shapes and no values
        with keras.saving.custom_object_scope(in_scope), keras.StatelessScope(initialize_variables=False):
            made: Any = model(**dict(arguments))
            optional = {id(variable) for variable in getattr(getattr(made, "loss_weighting", None), "weights", ())}
            return sum(math.prod(variable.shape) for variable in made.weights if id(variable) not in optional)

    # Keras keeps a list of such variables for each thread, and would give them values later.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(count).result()


def check_memory(model: type, arguments: Mapping[str, Any], copies: int) -> None:
    """Refuse a model whose weights cannot be held.

    Args:
        model: its class.
        arguments: arguments of its constructor.
        copies: number of copies of the weights in memory: 4 when training with Adam.

    Raises:
        AcregError: the available memory is known and too small.
    """
    needed, there = 4 * copies * count_weights(model, arguments), available_bytes()
    if there is not None and needed > there:
        raise AcregError(
            f"The weights of a network must fit into memory, {copies} times. Received: a {model.__name__} that needs "
            f"{needed / 2**30:.3g} GiB for them, where {there / 2**30:.3g} GiB are available. Make it narrower, with "
            "fewer levels, or use a larger machine."
        )
