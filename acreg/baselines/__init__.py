"""Classical registration programs with the same interface as the learned models.

A method has a name, `tool:kind` or `tool:kind[option=value,...]`, and registers in physical space: the tools
use the spacing, origin and direction of both images, and their result is returned as a `Transform`. The tools are
imported when a method is created.
"""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
