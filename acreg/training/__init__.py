"""Recipes and training: reading and running the YAML files that describe experiments.

Names are loaded when first used, so that `import acreg.training` is fast and never imports Keras.
"""

from __future__ import annotations

import importlib

_HOME = {
    "Recipe": "schema",
    "find_recipe": "recipe",
    "load_recipe": "recipe",
    "run_recipe": "run",
    "shipped_recipes": "recipe",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'acreg.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"acreg.training.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
