"""Recipes and training: reading and running the YAML files that describe experiments.

Names are loaded when first used, so that `import acreg.training` is fast and never imports Keras.
"""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
