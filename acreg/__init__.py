"""acreg: learned deformable registration of medical images with anatomical constraints, in Keras 3.

``import acreg`` is cheap: Keras and the sub-packages are imported when one of the names below is first used::

    import acreg

    result = acreg.register(fixed="a.png", moving="b.png", model="acregnet-jsrt")
    result.save("result")

The commands `register`, `warp`, `view`, `jacobian`, `evaluate`, `compare`, `segment`, `quality`, `surfaces`,
`classify`, `plausibility`, `template` and `inspect` are functions of the same names here, with the options as
arguments.
"""

from __future__ import annotations

from acreg import _keras, _lazy, _moved, _parts

__version__ = "0.1.0"
"""The version of acreg."""

_parts.install()
_moved.install()
_keras.install()

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
__all__ += ["__version__"]
