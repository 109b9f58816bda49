"""The recipes that come with acreg, one folder per paper; `acreg.training` reads and runs them."""

from __future__ import annotations

from acreg._moved import forward

if __name__ != "acreg.experiments":
    raise ImportError(
        f"This package must be imported as acreg.experiments. Received: {__name__}. "
        "Write `import acreg.experiments`; the folder `experiments` is a part of acreg and not a package of its own."
    )

__getattr__ = forward(__name__, "acreg.training")
