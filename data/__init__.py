"""Datasets, manifests, pair sampling, augmentation, input pipelines and phantoms.

Names are loaded when first used, so that `import acreg.data` stays cheap and never imports TensorFlow.
"""

from __future__ import annotations

import importlib

if __name__ != "acreg.data":
    raise ImportError(
        f"This package must be imported as acreg.data. Received: {__name__}. "
        "Write `import acreg.data`; the folder `data` is a part of acreg and not a package of its own."
    )

_HOME = {
    "Augmentation": "augmentation",
    "Dataset": "manifest",
    "Deformation": "deformed_pairs",
    "DeformedPairSampler": "deformed_pairs",
    "KerasPairs": "pipeline",
    "LabelSampler": "pairs",
    "PairSampler": "pairs",
    "Phantom": "phantom_common",
    "RandomDeformation": "deformed_pairs",
    "Record": "manifest",
    "chest_phantom": "phantoms",
    "dataset_folder": "manifest",
    "fixed_pairs": "pairs",
    "label_batches": "pipeline",
    "heart_pair": "heart_phantoms",
    "heart_phantom": "heart_phantoms",
    "make_dataset": "phantoms",
    "make_heart_dataset": "heart_phantoms",
    "phantom_pair": "phantoms",
    "synthesize": "synthesis",
    "tf_pairs": "pipeline",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'acreg.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"acreg.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
