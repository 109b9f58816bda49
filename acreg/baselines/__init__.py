"""Classical registration programs under the same interface as the learned models.

A method is asked for by name, `tool:kind` or `tool:kind[option=value,...]`, and registers in physical space: the tools
see the spacing, origin and direction of both images, and what they find comes back as a `Transform`. The tools are
imported when a method is made.
"""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
