"""The trained model of a preset, run by ONNX Runtime or by Keras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acreg.errors import AcregError, UsageError
from acreg.inference import OnnxModel, OnnxNetwork, preset_folder
from acreg.inference.onnx_network import FILE
from acreg.io.preset_config import read_preset_config

if TYPE_CHECKING:
    from acreg.models import LabelAutoencoder, RegistrationModel

ENGINES = ("onnx", "keras")
"""What runs a network."""
SEGMENTER = "Segmenter"
"""The class of models that label single images."""
VARIABLE = "ACREG_ENGINE"
"""The environment variable that chooses an engine where none is given."""


def from_preset(
    name_or_folder: str | os.PathLike[str], engine: str | None = None
) -> OnnxModel | RegistrationModel | LabelAutoencoder:
    """Loads a trained model for use: a preset that ships with acreg, by name, or any preset folder.

    Args:
        name_or_folder: the preset.
        engine: "onnx" runs the preset's ``network.onnx`` in ONNX Runtime, without TensorFlow and Keras. "keras" loads
            the Keras model, which can also be trained. None: as the environment variable ``ACREG_ENGINE`` says, and
            without it "onnx" if the preset has such a file, or else "keras".

    Returns:
        An `OnnxModel`, which registers; or the Keras model, see `acreg.models.from_preset`. Their transforms agree to
        1e-4 voxels of the network's grid.

    Raises:
        UsageError: the preset does not exist, or there is no such engine.
        AcregError: a file of the preset is missing or does not match the others, or the engine is "onnx" and the preset
            has no ``network.onnx``; or the process was forked from one that used a model.

    Example:

    >>> model = acreg.from_preset("acregnet-jsrt")
    >>> transform = model.register(fixed="a.png", moving="b.png")
    """
    folder = preset_folder(name_or_folder)

    def keras_model() -> Any:
        from acreg import models

        return models.from_preset(folder)

    if chosen_engine(folder, engine) == "keras":
        return keras_model()
    return OnnxModel(OnnxNetwork.of_preset(folder), folder.name, keras_model)


def chosen_engine(folder: Path, engine: str | None = None) -> str:
    """The engine of a preset's folder, see `from_preset`."""
    given = engine or os.environ.get(VARIABLE) or None
    if given is not None and given not in ENGINES:
        raise UsageError(
            f"A network is run by one of {', '.join(ENGINES)}. Received: {given!r}"
            f"{'' if engine else f' in the environment variable {VARIABLE}'}. Correct it, or leave it out."
        )
    there = (folder / FILE).exists()
    if given == "onnx" and not there:
        raise AcregError(
            f"The engine onnx runs the {FILE} of a preset. Received: {folder}, which has none. Write it with "
            f"`acreg export {folder} --out {folder / FILE}`, or choose the engine keras."
        )
    return given or ("onnx" if there else "keras")


def is_segmenter(preset: str | os.PathLike[str]) -> bool:
    """Whether a preset is that of an `acreg.models.Segmenter`. Errors: as `from_preset`."""
    return read_preset_config(preset_folder(preset)).class_name == SEGMENTER
