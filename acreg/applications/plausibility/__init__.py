"""An experiment: do the codes of an autoencoder distinguish plausible from implausible anatomy?"""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
