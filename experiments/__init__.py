"""Recipes and training: the YAML files that describe the papers' experiments, and the code that runs them.

Names are loaded when first used, so that `import acreg.experiments` stays cheap and never imports Keras.
"""

from __future__ import annotations

import importlib

if __name__ != "acreg.experiments":
    raise ImportError(
        f"This package must be imported as acreg.experiments. Received: {__name__}. "
        "Write `import acreg.experiments`; the folder `experiments` is a part of acreg and not a package of its own."
    )

_HOME = {
    "Recipe": "schema",
    "find_recipe": "recipe",
    "load_recipe": "recipe",
    "run_recipe": "train",
    "shipped_recipes": "recipe",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'acreg.experiments' has no attribute {name!r}")
    return getattr(importlib.import_module(f"acreg.experiments.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
