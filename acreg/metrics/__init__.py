"""Measures of a registration on NumPy arrays: overlap and surface distances of labels, similarity of images."""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
