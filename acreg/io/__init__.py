"""Reading and writing of images, labels, displacements, points and transforms."""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
