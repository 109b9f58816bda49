"""Applications of registration: atlases, templates, velocities of shapes, conversion, inspection, batches."""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
