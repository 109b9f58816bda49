"""Presets: a folder with everything that is needed to use a trained model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from acreg.errors import AcregError, UsageError
from acreg.inference.forking import check_process
from acreg.inference.presets import SHIPPED, preset_folder
from acreg.io import Preprocessing
from acreg.io.preset_config import AGAIN, check_weights_file, read_preset_config
from acreg.io.stored_weights import count_values, open_weights
from acreg.models.arguments import check_arguments, count_weights
from acreg.models.label_autoencoder import LabelAutoencoder
from acreg.models.preset_model import PresetModel
from acreg.models.registered import registered_models

if TYPE_CHECKING:
    from acreg.models.registration_model import RegistrationModel


def from_preset(name_or_folder: str | os.PathLike[str]) -> RegistrationModel | LabelAutoencoder:
    """Loads the Keras model of a preset, shipped with acreg or in a folder, to train it or to use its parts.

    To register alone, `acreg.from_preset` is faster, because it needs no Keras where the preset has a network in ONNX.

    Returns:
        The model, such as an `ACRegNet`, with its ``preprocessing``. Presets of autoencoders give a `LabelAutoencoder`,
        which does not register.

    Raises:
        UsageError: the preset does not exist.
        AcregError: a file of the preset is missing or does not match the others; or the process was forked from one
            that used a model, where TensorFlow would wait forever.

    Example:

    >>> model = acreg.models.from_preset("acregnet-jsrt")
    >>> model.summary()
    """
    check_process()
    folder = preset_folder(name_or_folder)
    content = read_preset_config(folder)
    preprocessing = Preprocessing.from_json(folder / "preprocessing.json")
    weights = check_weights_file(folder, content.weights_sha256)
    trusted = folder.parent == SHIPPED and content.weights_sha256 is not None
    model = load_model(content.class_name, content.config, weights, folder / "config.json", trusted)
    _check_grid(folder, model, preprocessing)
    model.preprocessing = preprocessing
    return model


def load_model(
    class_name: str, config: Mapping[str, Any], weights: Path, source: Path, trusted: bool = False
) -> RegistrationModel | LabelAutoencoder:
    """A model from the name of its class and its arguments, as in JSON, with its weights.

    Args:
        class_name: see `registered_models`.
        config: its arguments.
        weights: a file that `save_weights` wrote.
        source: the source of class and arguments, for messages.
        trusted: whether the weights are shipped with acreg, see `open_weights`.

    Raises:
        AcregError: an unknown class, arguments that it does not have or refuses, or weights that do not match the
            model, which is checked before memory is allocated for it.
    """
    model_class, needed = _check_model(class_name, config, source)
    with open_weights(weights, "file of weights", trusted) as file:
        stored = count_values(file)
    try:
        if stored != needed:
            raise ValueError(f"it holds {stored} numbers, where {needed} are needed")
        model = model_class.from_config(dict(config))
        for variable in model.weights:
            variable.assign(ops.full(variable.shape, np.nan, variable.dtype))
        model.load_weights(weights)
        # Keras may skip a part that the file lacks; weights that it did not load are still NaN.
        missing = [v.path for v in model.weights if not np.isfinite(np.asarray(v)).all()]
        if missing:
            raise ValueError(f"{len(missing)} of {len(model.weights)} are absent or not finite, such as {missing[0]}")
    except Exception as error:  # h5py and Keras raise many types of error for a file from another program
        raise AcregError(
            f"The weights of a preset must be those of the model in its config.json. Received: {weights}, which could "
            f"not be loaded into {class_name} ({_first_line(error)}). {AGAIN[:-1]}; files of two presets cannot be "
            "mixed."
        ) from error
    return model


def _check_model(class_name: str, config: Mapping[str, Any], source: Path) -> tuple[Any, int]:
    """The class with this name, after a check of its arguments.

    Returns:
        The class, and its number of weights.

    Raises:
        AcregError: an unknown class, or arguments that it does not have or refuses, or that are too large.
    """
    classes = registered_models(PresetModel)
    if class_name not in classes:
        raise AcregError(
            f"A preset's class must be one of {', '.join(classes)}. Received: {class_name!r} in {source}. "
            "Install the acreg version that wrote it, or import the package that registers the class."
        )
    model = classes[class_name]
    try:
        check_arguments(model, config)
        if isinstance(config.get("autoencoder"), Mapping):
            check_arguments(LabelAutoencoder, config["autoencoder"])
        return model, count_weights(model, config)
    except AcregError:
        raise
    except Exception as error:  # constructors and Keras raise many types of error for invalid values
        raise AcregError(
            f"A preset's config must hold the arguments of its class. Received: {source}, refused by {class_name} "
            f"({_first_line(error)}). {AGAIN}"
        ) from error


def load_autoencoder(name_or_folder: str | os.PathLike[str]) -> LabelAutoencoder:
    """The label autoencoder of a preset.

    Raises:
        UsageError: the preset is that of another model, or does not exist.
        AcregError: as `from_preset`.
    """
    model = from_preset(name_or_folder)
    if not isinstance(model, LabelAutoencoder):
        raise UsageError(
            f"An autoencoder must be the preset of a LabelAutoencoder. Received: {name_or_folder}, a "
            f"{type(model).__name__}. Give another preset: a training run keeps its autoencoder in the folder "
            "`autoencoder`, and `acreg convert` makes one from a checkpoint."
        )
    return model


def _check_grid(folder: Path, model: RegistrationModel | LabelAutoencoder, preprocessing: Preprocessing) -> None:
    shape = preprocessing.shape
    if isinstance(model, LabelAutoencoder):
        fits, wanted = shape == tuple(model.shape), f"the autoencoder's {tuple(model.shape)}"
    else:
        fits, wanted = len(shape) == model.rank, f"one of {model.rank} axes"
    if not fits:
        raise AcregError(
            f"The shape in a preset's preprocessing.json must be {wanted}. Received: {folder} with {shape}. Get the "
            "whole folder again; files of two presets cannot be mixed."
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
