"""Recompute the stored values of the presets: `python -m acreg.applications.verification.references`.

For developers of acreg: run it in the checkout, on a CPU, after a preset was added or retrained or its preprocessing
changed, and commit `preset_samples.json`. If the values of a preset change although it was not changed on purpose, find
the reason first.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import acreg
from acreg.applications.verification import presets
from acreg.applications.verification.machine import environment
from acreg.inference.presets import SHIPPED, shipped_presets
from acreg.io import atomic_path
from acreg.io.preset_config import sha256_of


def make(name: str) -> dict[str, Any]:
    """The values to be stored for a shipped preset."""
    return {
        presets.CHECKSUM: sha256_of(SHIPPED / name / presets.WEIGHTS),
        presets.IMAGES: _rounded(presets.images_sample(name), 2),
        presets.VALUES: _rounded(presets.values_sample(name), 5),
    }


def write() -> None:
    """Write the values of all shipped presets, one line each."""
    about = {"acreg": acreg.__version__, **environment()}
    lines = [f"{json.dumps(name)}: {json.dumps(make(name))}" for name in shipped_presets()]
    text = f'{{"made_with": {json.dumps(about)},\n"presets": {{\n' + ",\n".join(lines) + "\n}}\n"
    with atomic_path(presets.STORED) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(value), digits) + 0.0 for value in values]  # + 0.0: no "-0.0"


if __name__ == "__main__":
    write()
    print(f"{presets.STORED.name}: {', '.join(presets.stored())}")
