"""Registration of a pair: methods by name, the transform, the verdict on the result, and the result files."""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
