"""The shipped presets: their weights and predictions, compared with values that are stored beside this module.

Processors differ in the last digits of a convolution. Therefore a coarse sample of a field, not its hash, is stored and
compared with a tolerance. `python -m acreg.applications.verification.references` recomputes the stored values.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from acreg.applications.verification.check import Check, Measured, compare
from acreg.geometry import Grid, Image
from acreg.io import Preprocessing
from acreg.io.preset_config import sha256_of

STORED = Path(__file__).with_name("preset_samples.json")
PER_AXIS = {2: 10, 3: 5}
"""Voxels of a sample along each axis, for each number of axes."""
WEIGHTS = "model.weights.h5"
IMAGES, VALUES, CHECKSUM = "images", "values", "weights_sha256"
FIELD_LIMIT = 0.05
"""Voxels. With oneDNN's convolutions and without them fields differ by 5e-5 voxels at most. Noise of a thousandth of
the intensities moves them by up to 0.02: a GPU's TF32 keeps three digits."""
CODE_LIMIT = 0.01


def stored() -> dict[str, dict[str, Any]]:
    """The stored values of each preset: `images`, `values` and `weights_sha256`."""
    return dict(json.loads(STORED.read_text(encoding="utf-8"))["presets"])


def made_pair(preprocessing: Preprocessing) -> tuple[Image, Image]:
    """A fixed and a moving image for a preset: phantoms of two subjects on grids like its own.

    The moving image has voxels of a different size, a reversed second axis, and a different position.
    """
    from acreg.data.phantoms.chests import chest_phantom
    from acreg.data.phantoms.hearts import heart_phantom

    shape = preprocessing.shape
    draw: Any = chest_phantom if len(shape) == 2 else heart_phantom
    spacing = np.array(preprocessing.spacing or (2.0,) * len(shape))
    fixed, moving = (draw((7, subject), shape).image for subject in (1, 2))
    larger, direction = 1.1 * spacing, np.diag([-1.0 if axis == 1 else 1.0 for axis in range(len(shape))])
    origin = np.full(len(shape), 5.0)
    origin[1] += (shape[1] - 1) * larger[1]
    turned = Grid(shape, tuple(larger), tuple(origin), tuple(map(tuple, direction)))
    return Image(fixed, Grid(shape, tuple(spacing))), Image(np.flip(moving, 1), turned)


def coarse(array: np.ndarray, rank: int) -> np.ndarray:
    """A sample of an array `(*spatial, ...)` at evenly spaced voxels of its first `rank` axes, flat, float64."""
    places = [np.linspace(0, n - 1, PER_AXIS[rank]).round().astype(int) for n in array.shape[:rank]]
    return array[np.ix_(*places)].ravel().astype(float)


def images_sample(name: str) -> np.ndarray:
    """A coarse sample of a preset's input: two images, or a label map for an autoencoder."""
    from acreg.inference.presets import SHIPPED
    from acreg.io.preset_config import read_preset_config

    preprocessing = Preprocessing.from_json(SHIPPED / name / "preprocessing.json")
    if read_preset_config(SHIPPED / name).class_name == "LabelAutoencoder":
        return coarse(made_labels(preprocessing), len(preprocessing.shape))
    return np.concatenate([coarse(image.array, image.grid.rank) for image in made_pair(preprocessing)])


def made_labels(preprocessing: Preprocessing) -> np.ndarray:
    """A phantom's label map on an autoencoder's grid; labels above the autoencoder's last one become the last one."""
    from acreg.data.phantoms.chests import chest_phantom

    rows, columns = preprocessing.shape
    labels = chest_phantom((7, 1), (rows, columns)).labels
    return np.minimum(labels, len(preprocessing.label_values) - 1)


def values_sample(name: str) -> np.ndarray:
    """The output of a preset: a coarse sample of the displacement in voxels or of a label's probability, or a code."""
    from acreg.models import LabelAutoencoder, Segmenter, from_preset

    model: Any = from_preset(name)
    preprocessing: Preprocessing = model.preprocessing
    if isinstance(model, LabelAutoencoder):
        return np.asarray(model.encode(made_labels(preprocessing)[None, ..., None]), float).ravel()
    fixed, moving = made_pair(preprocessing)
    if isinstance(model, Segmenter):
        return coarse(model.probabilities(fixed)[1], fixed.grid.rank)
    return coarse(model.register(fixed=fixed, moving=moving).displacement, fixed.grid.rank)


def _weights() -> Measured:
    from acreg.inference.presets import SHIPPED

    known = stored()
    differ = [name for name in known if _sha256(SHIPPED / name / WEIGHTS) != known[name][CHECKSUM]]
    return Measured(len(known), float(len(differ)), ", ".join(differ))


def _sha256(path: Path) -> str:
    return sha256_of(path) if path.is_file() else ""


def _images() -> Measured:
    apart = {name: compare(images_sample(name), values[IMAGES]) for name, values in stored().items()}
    worst = max(apart, key=lambda name: apart[name].largest)
    return Measured(sum(m.cases for m in apart.values()), apart[worst].largest, f"the images for {worst}")


def _values(name: str, relative: bool) -> Measured:
    expected = np.array(stored()[name][VALUES])
    scale = np.abs(expected).max() if relative else 1.0
    return compare(values_sample(name) / scale, expected / scale)


def _checks() -> list[Check]:
    section, known = "Presets that ship", stored()
    checks = [
        Check(section, "Weights of all presets", "stored SHA-256", "files", "files that differ", 0.0, _weights),
        Check(section, "Phantoms used as inputs", "stored sample", "voxels", "grey levels", 0.01, _images),
    ]
    for name in known:
        if name.startswith("autoencoder"):
            what, counted, unit, limit = "code", "values", "of the largest value", CODE_LIMIT
        elif name.startswith("segmenter"):
            what, counted, unit, limit = "probabilities", "values", "of 1", CODE_LIMIT
        else:
            what, counted, unit, limit = "field", "values", "voxels", FIELD_LIMIT
        measure = partial(_values, name, what == "code")
        checks.append(Check(section, f"{name}: {what}", "stored sample", counted, unit, limit, measure))
    return checks


CHECKS = _checks()
