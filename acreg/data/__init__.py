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
    "Augmentation": "sampling.augmentation",
    "Dataset": "manifest",
    "Deformation": "sampling.deformation",
    "DeformedPairSampler": "sampling.deformed_pairs",
    "KerasPairs": "sampling.pipeline",
    "LabelSampler": "sampling.singles",
    "PairSampler": "sampling.pairs",
    "Phantom": "phantoms.common",
    "RandomDeformation": "sampling.deformation",
    "Record": "manifest",
    "chest_phantom": "phantoms.chests",
    "dataset_folder": "manifest",
    "fixed_pairs": "sampling.pairs",
    "label_batches": "sampling.pipeline",
    "heart_pair": "phantoms.hearts",
    "heart_phantom": "phantoms.hearts",
    "make_dataset": "phantoms.chests",
    "make_heart_dataset": "phantoms.hearts",
    "phantom_pair": "phantoms.chests",
    "synthesize": "sampling.synthesis",
    "tf_pairs": "sampling.pipeline",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'acreg.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"acreg.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
