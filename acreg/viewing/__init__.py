"""The interactive page of a registered pair: one HTML file that works without network."""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
