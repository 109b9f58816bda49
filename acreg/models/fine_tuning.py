"""Transfer learning: start from the weights of another model."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from acreg.errors import AcregError, UsageError
from acreg.io.documents import parse_json
from acreg.io.guards import DEFLATE
from acreg.io.guards.text import check_regular
from acreg.io.preset_config import CONFIG_LIMIT, WEIGHTS_LIMIT
from acreg.io.stored_weights import open_weights
from acreg.models.network_parts import layers_by_part
from acreg.models.preset_model import PresetModel, arguments_of
from acreg.models.presets import from_preset, load_model
from acreg.models.registered import registered_models


def transfer_weights(model: Any, source: str | os.PathLike[str]) -> None:
    """Give a model the weights of another model's network; see `RegistrationModel.transfer_from`."""
    path, ours = Path(source), _weights(model.network)
    if path.name.endswith(".weights.h5"):
        theirs = _stored_weights(path, model.network)
    elif path.suffix in (".h5", ".hdf5"):
        raise UsageError(
            f"A start is a preset, a .keras file or a .weights.h5 file. Received: {path}, which is of another "
            "kind. Make a preset of it first: see `acreg convert --help`."
        )
    else:
        given = _load_keras(path) if path.suffix == ".keras" else from_preset(source)
        if not isinstance(getattr(given, "network", None), keras.Model):
            raise AcregError(
                f"A start must be a registration model or a segmenter. Received: {source}, a {type(given).__name__}. "
                "Give a preset of one."
            )
        theirs = _weights(given.network)
    problems = {
        "of another shape": [
            f"{name} {tuple(theirs[name].shape)} instead of {tuple(variable.shape)}"
            for name, variable in ours.items()
            if name in theirs and theirs[name].shape != variable.shape
        ],
        "absent": [name for name in ours if name not in theirs],
        "left over": [name for name in theirs if name not in ours],
    }
    found = "; ".join(
        f"{len(names)} {problem} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
        for problem, names in problems.items()
        if names
    )
    if found:
        raise AcregError(
            f"The weights to start from must fit the network, {type(model).__name__}'s of {len(ours)} weights. "
            f"Received: {source}, where of its weights and those needed, {found}. Build the model with the "
            "arguments of the one to start from; a recipe takes those over that its model.arguments leave out."
        )
    if odd := [name for name in ours if not np.isfinite(np.asarray(theirs[name])).all()]:
        raise AcregError(
            f"Weights to start from are finite. Received: {source} with {len(odd)} that are not, such as {odd[0]}. "
            "Get the file again."
        )
    for name, variable in ours.items():
        variable.assign(theirs[name])


def _load_keras(path: Path) -> Any:
    """The model of a `.keras` file, built by acreg: `keras.models.load_model` would create any class that it names."""
    _check_file(path)
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            content = parse_json(
                _member(archive, "config.json", CONFIG_LIMIT).decode("utf-8"), f"config.json of {path}"
            )
            weights = Path(folder) / "model.weights.h5"
            weights.write_bytes(_member(archive, weights.name, min(WEIGHTS_LIMIT, path.stat().st_size * DEFLATE)))
            if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
                raise ValueError("its config.json has no config")
            name = str(content.get("registered_name")).removeprefix("acreg>")
            if name not in registered_models(PresetModel):
                raise ValueError(f"its class is {name[:100]!r}")
            config = arguments_of(content["config"])
            if isinstance(config.get("autoencoder"), dict):
                config["autoencoder"] = arguments_of(config["autoencoder"])
            return load_model(name, config, weights, path)
    except OSError:
        raise
    except Exception as error:  # a damaged archive raises zlib.error, NotImplementedError, RuntimeError and others
        raise AcregError(
            f"A .keras file to start from must hold a model of acreg or of an imported package. Received: {path}, "
            f"which cannot be loaded ({' '.join(str(error).split())[:300]}). Give the preset of its training instead."
        ) from error


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A file in an archive, read up to a limit of bytes, whatever size the archive claims."""
    with archive.open(name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{name} takes more than {limit} bytes")
    return content


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"The file to start from must exist. Received: {path}. Check the path.")
    check_regular(path, WEIGHTS_LIMIT, "file to start from")


def _stored_weights(path: Path, network: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a network in a Keras 3 file, by their names in `network` or otherwise by their numbers.

    Keras' own loading reports at most one mismatch, and loads the other weights before that.
    """
    _check_file(path)
    names = {
        f"{layer.name}/{number}": f"{layer.name}/{weight.name}"
        for _, layer in layers_by_part(network)
        for number, weight in enumerate(layer.weights)
    }
    found: dict[str, np.ndarray] = {}

    def read(name: str, item: h5py.Group | h5py.Dataset) -> None:
        other = any(part in name for part in ("label_autoencoder", "loss_weighting"))
        if isinstance(item, h5py.Dataset) and not other:
            stored = f"{item.parent.attrs.get('name', name)}/{name.rpartition('/')[2]}"
            found[names.get(stored, stored)] = item[()]

    with open_weights(path, ".weights.h5 file") as file:
        for part in ("layers", "network"):  # Keras uses one name or the other for the network of a model
            if isinstance(file.get(part), h5py.Group):
                file[part].visititems(read)
    return found


def _weights(network: keras.Model) -> dict[str, keras.Variable]:
    return {f"{layer.name}/{weight.name}": weight for _, layer in layers_by_part(network) for weight in layer.weights}
