"""Registration of a pair by optimisation, without a trained network.

`Engine` registers two images of any anatomy and contrast in stages: linear, discrete, continuous. `RegistrationModel`
refines its predictions with the continuous stage.
"""

from __future__ import annotations

from acreg import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
