"""Datasets, manifests, pair sampling, augmentation, input pipelines and phantoms.

Names are loaded when first used, so that `import acreg.data` is fast and never imports TensorFlow.
"""

from __future__ import annotations

from acreg import _lazy

if __name__ != "acreg.data":
    raise ImportError(
        f"This package must be imported as acreg.data. Received: {__name__}. "
        "Write `import acreg.data`; the folder `data` is a part of acreg and not a package of its own."
    )

__getattr__, __dir__, __all__ = _lazy.attach(__name__, __file__)
