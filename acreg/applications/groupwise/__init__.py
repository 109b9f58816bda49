"""Registration of a group of images to their mean: the unbiased template of `acreg template`."""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
