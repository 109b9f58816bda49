"""Models by their names: acreg's own, and those that other packages registered with Keras."""

from __future__ import annotations

import inspect
import warnings
from functools import cache
from importlib import metadata
from typing import Any

import keras

PLUGINS = "acreg.plugins"
"""The group of entry points of packages that register models or losses when they are imported."""


def registered_models(base: type) -> dict[str, Any]:
    """The classes derived from `base` that are registered by `keras.saving.register_keras_serializable`.

    The names are those in recipes and presets: ``"RegNet"`` for a model of acreg, ``"mypackage>MyNet"`` for
    a model of another package that was imported or declares the entry point `PLUGINS`. Names in a
    `keras.saving.custom_object_scope` are included.
    """
    load_plugins()
    known = {**keras.saving.get_custom_objects(), **names_in_scope()}
    models = {n.removeprefix("acreg>"): c for n, c in known.items() if inspect.isclass(c) and issubclass(c, base)}
    return {name: models[name] for name in sorted(models, key=lambda name: (">" in name, name))}


def registered_name(model: type) -> str:
    """The name of a class in `registered_models`; the name of the class itself if it is not registered."""
    return keras.saving.get_registered_name(model).removeprefix("acreg>")


def names_in_scope() -> dict[str, Any]:
    """The names of the current `keras.saving.custom_object_scope`, which applies only to this thread."""
    with keras.saving.custom_object_scope({}) as scope:
        return dict(scope.backup)


@cache
def load_plugins() -> None:
    """Import the entry points that packages declare in the group `PLUGINS`, once; warn if an import fails."""
    for entry in metadata.entry_points(group=PLUGINS):
        try:
            entry.load()
        except Exception as error:  # a package may raise any error on import
            warnings.warn(
                f"A package that extends acreg must be importable. Received: {entry.value} ({entry.name}), which "
                f"raises {type(error).__name__}: {error}. Its models and losses are unknown; mend or remove it.",
                stacklevel=2,
            )
