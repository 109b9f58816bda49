"""Applications of registration: atlases, velocities of shapes, conversion, inspection, batches of images."""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
