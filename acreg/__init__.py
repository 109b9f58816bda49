"""acreg: learned deformable registration of medical images with anatomical constraints, in Keras 3.

``import acreg`` is cheap: Keras and the sub-packages are imported when one of the names below is first used::

    import acreg

    model = acreg.from_preset("acregnet-jsrt")
    result = model.register(fixed="a.png", moving="b.png")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from acreg import _moved

__version__ = "0.1.0"
"""The version of acreg."""

if TYPE_CHECKING:
    from acreg.geometry import Image
    from acreg.io import read_image
    from acreg.models import from_preset

_NAMES = {
    "classify": "acreg.applications.classification",
    "compare": "acreg.report",
    "evaluate": "acreg.evaluation",
    "from_preset": "acreg.models",
    "Image": "acreg.geometry",
    "jacobian": "acreg.registration",
    "plausibility": "acreg.applications.plausibility.experiment",
    "quality": "acreg.applications.batch.commands",
    "read_image": "acreg.io",
    "register": "acreg.registration",
    "segment": "acreg.applications.batch.commands",
    "surfaces": "acreg.applications.atlases.meshes",
    "warp": "acreg.registration",
}
_SUBMODULES = (
    "applications",
    "baselines",
    "data",
    "errors",
    "evaluation",
    "experiments",
    "geometry",
    "io",
    "layers",
    "losses",
    "metrics",
    "models",
    "plotting",
    "registration",
    "report",
    "shapes",
    "training",
)

__all__ = [
    "Image",
    "__version__",
    "classify",
    "compare",
    "evaluate",
    "from_preset",
    "jacobian",
    "plausibility",
    "quality",
    "read_image",
    "register",
    "segment",
    "surfaces",
    "warp",
]


_moved.install()


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"acreg.{name}")
    else:
        raise AttributeError(f"module 'acreg' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, *_SUBMODULES})
