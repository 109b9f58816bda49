"""What a recipe takes over from the preset that its training starts from: class, arguments, grid and preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acreg.errors import UsageError
from acreg.inference.presets import preset_folder
from acreg.io import Preprocessing
from acreg.io.preset_config import read_preset_config

OF_STORED_IMAGES = {"spacing", "centre"}
"""Keys that data.velocities excludes, because velocities are of the images as they are stored."""
FILES = (".keras", ".h5", ".hdf5")
"""Endings of files of weights, which do not say how images become the input of their network."""
GRID = ("shape", "spacing", "centre", "trim", "window", "intensity")
"""The keys of the section data that a preset's preprocessing.json has, too."""
PRIOR = "anatomical_prior"
OF_OTHER_DATA = ("labels_per_step", "registration")
"""Arguments of a model that follow from the labels of its own data, or were chosen for the use with its own data."""


def inherited(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe, laid over those of the preset that its training starts from, if it starts from one.

    Arguments:
        values: those of the recipe's files. An argument of the model, such as `losses`, replaces that of the preset as
            a whole.
        changes: those of the command line. Values of the preset that contradict them are left out; the changes
            themselves are not included in the result.

    Raises:
        UsageError: the preset does not exist, and the recipe does not describe its network itself; the preset is that
            of a label autoencoder; or its images have another number of axes.
        AcregError: a file of the preset is damaged.
    """
    result = {**values}
    stated = {name: {**_section(values, name), **_section(changes, name)} for name in ("start", "model", "data")}
    source = stated["start"].get("from") if changes.get("start", {}) is not None else None
    if not isinstance(source, str) or source.endswith(FILES):
        return result
    try:
        folder = preset_folder(source)
    except UsageError:
        if {"class", "arguments"} <= set(stated["model"]) and "shape" in stated["data"]:
            return result  # complete by itself; a run that is resumed does not need its start any more
        raise
    model, data = preset_values(source, folder)
    _check_axes(source, data["shape"], stated["data"])
    result["data"] = {**_fitting(data, stated["data"]), **_section(values, "data")}
    own = _section(values, "model")
    arguments = own.get("arguments") or {}
    if isinstance(arguments, Mapping):
        taken = _arguments_for(stated["model"].get("class") or model["class"], model)
        own_losses = "losses" in {**arguments, **_section(_section(changes, "model"), "arguments")}
        if not own_losses and {**values, **changes}.get("autoencoder") is None:
            _check_no_prior(source, taken)
        result["model"] = {**model, **own, "arguments": {**taken, **arguments}}
    return result


def preset_values(source: str | Path, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sections model and data of a recipe that describe the network of a preset and its input.

    Raises:
        UsageError: the preset is that of a label autoencoder.
        AcregError: a file of the preset is damaged.
    """
    from acreg.training.build import FILLED_IN, model_classes

    config = read_preset_config(folder)
    if config.class_name not in model_classes():
        raise UsageError(
            f"A training starts from a registration model or a segmenter. Received: {source}, a {config.class_name}. "
            "Name a preset of one of these; a label autoencoder is reused by `autoencoder: PRESET`."
        )
    preprocessing = Preprocessing.from_json(folder / "preprocessing.json").model_dump(mode="json", include={*GRID})
    left_out = {*FILLED_IN, *OF_OTHER_DATA}
    arguments = {name: value for name, value in config.config.items() if name not in left_out and value is not None}
    return {"class": config.class_name, "arguments": arguments}, preprocessing


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section as a dictionary; what is none is reported later, with the schema."""
    found = values.get(name)
    return dict(found) if isinstance(found, Mapping) else {}


def _check_axes(source: str, shape: list[int], stated: Mapping[str, Any]) -> None:
    for name in ("shape", "spacing"):
        given = stated.get(name)
        if isinstance(given, list) and len(given) != len(shape):
            raise UsageError(
                f"A training starts from a network for images with as many axes. Received: data.{name} of "
                f"{len(given)} numbers, and the preset {source} for images with {len(shape)} axes. Leave data.{name} "
                "out to take it over from the preset, or start from a preset for such images."
            )


def _check_no_prior(source: str, arguments: Mapping[str, Any]) -> None:
    if arguments.get("losses", {}).get(PRIOR):
        raise UsageError(
            "A loss on the codes of labels needs a label autoencoder, which is trained with the labels of the data. "
            f"Received: the losses of the preset {source}, {PRIOR} among them, and no autoencoder. Add the section "
            "autoencoder, as `acreg recipe new --from PRESET` writes it, or other losses in model.arguments.losses."
        )


def _fitting(data: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's section data without the keys that what the recipe states excludes."""
    left_out = set()
    if stated.get("velocities") is not None:
        left_out |= OF_STORED_IMAGES
    if {"window", "intensity"} & {name for name, value in stated.items() if value is not None}:
        left_out |= {"window", "intensity"}
    return {name: value for name, value in data.items() if name not in left_out}


def _arguments_for(class_name: Any, model: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's arguments that another class has, too; its losses are those of its own class."""
    if class_name == model["class"]:
        return dict(model["arguments"])
    from acreg.models.arguments import constructor_types
    from acreg.training.build import model_classes

    found = model_classes().get(class_name)
    known = set(constructor_types(found)) - {"losses"} if found else set()
    return {name: value for name, value in model["arguments"].items() if name in known}
