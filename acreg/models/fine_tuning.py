"""Transfer learning: the weights of another model, and parts that stay as they are."""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
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
from acreg.models.presets import Preset, arguments_of, from_preset, load_model
from acreg.models.registered import registered_models


class FineTuning:
    """`parts`, `freeze` and `transfer_from`; a mix-in for `RegistrationModel`."""

    network: keras.Model

    def parts(self) -> dict[str, list[keras.layers.Layer]]:
        """The network's layers with weights by the part that they belong to.

        `DDMR` and the ``"unet"`` of `RegNet` have ``encoder``, ``decoder`` and ``head``; the ``"pyramid"`` has
        ``encoder``, which reads each image, and ``level``, which estimates the field level by level.
        """
        found: dict[str, list[keras.layers.Layer]] = {}
        for part, layer in _layers(self.network):
            found.setdefault(part, []).append(layer)
        return found

    def freeze(self, *parts: str) -> None:
        """Keeps the weights of some parts, and the statistics of their batch normalisation, as they are in training.

        Takes effect when the model is compiled next. All parts that are not named are trained: without any name the
        whole network is.

        Raises:
            ValueError: a part that the network does not have, or all of them.
        """
        known = self.parts()
        if unknown := [part for part in parts if part not in known]:
            raise ValueError(f"A part to freeze must be one of {list(known)}. Received: {unknown}")
        if not set(known) - set(parts):
            raise ValueError(f"A part must be left to train. Received: all of {list(known)} to freeze")
        for part, layers in known.items():
            for layer in layers:
                layer.trainable = part not in parts

    def transfer_from(self, source: str | os.PathLike[str]) -> None:
        """Takes over the weights of another model's network, all of them.

        The other model may be of another class, or have other losses and labels, as long as its network has the same
        layers and widths.

        Args:
            source: a preset, by name or folder; a model (``.keras``); or its weights (``.weights.h5``).

        Raises:
            UsageError: no such preset or file.
            AcregError: it cannot be read, or a weight is absent, left over or of another shape; both shapes are named.
        """
        path, ours = Path(source), _weights(self.network)
        if path.name.endswith(".weights.h5"):
            theirs = _stored_weights(path, self.network)
        elif path.suffix in (".h5", ".hdf5"):
            raise UsageError(
                f"A start is a preset, a .keras file or a .weights.h5 file. Received: {path}, which is of another "
                "kind. Make a preset of it first: see `acreg convert --help`."
            )
        else:
            given = _load_keras(path) if path.suffix == ".keras" else from_preset(source)
            if not isinstance(given, FineTuning):
                raise AcregError(
                    f"A start must be a registration model. Received: {source}, a {type(given).__name__}. Give a "
                    "preset of one."
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
                f"The weights to start from must fit the network, {type(self).__name__}'s of {len(ours)} weights. "
                f"Received: {source}, where of its weights and those needed, {found}. Build the model with the "
                "arguments of the one to start from (in a recipe: model.arguments)."
            )
        if odd := [name for name in ours if not np.isfinite(np.asarray(theirs[name])).all()]:
            raise AcregError(
                f"Weights to start from are finite. Received: {source} with {len(odd)} that are not, such as {odd[0]}. "
                "Get the file again."
            )
        for name, variable in ours.items():
            variable.assign(theirs[name])


def _load_keras(path: Path) -> Any:
    """The model of a `.keras` file, which is built by acreg: `keras.models.load_model` makes whatever a file names."""
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
            if name not in registered_models(Preset):
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
    """A file in an archive, of at most so many bytes, whatever the archive says of its size."""
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
    """A network's weights in a file of Keras 3, by the names that they have in `network`, or else by their numbers.

    Keras' own loading names one misfit at most, and fills what it can before that.
    """
    _check_file(path)
    names = {
        f"{layer.name}/{number}": f"{layer.name}/{weight.name}"
        for _, layer in _layers(network)
        for number, weight in enumerate(layer.weights)
    }
    found: dict[str, np.ndarray] = {}

    def read(name: str, item: h5py.Group | h5py.Dataset) -> None:
        other = any(part in name for part in ("label_autoencoder", "loss_weighting"))
        if isinstance(item, h5py.Dataset) and not other:
            stored = f"{item.parent.attrs.get('name', name)}/{name.rpartition('/')[2]}"
            found[names.get(stored, stored)] = item[()]

    with open_weights(path, ".weights.h5 file") as file:
        for part in ("layers", "network"):  # Keras takes the one or the other for a model's network
            if isinstance(file.get(part), h5py.Group):
                file[part].visititems(read)
    return found


def _layers(network: keras.Model, part: str | None = None) -> Iterator[tuple[str, keras.layers.Layer]]:
    """(part, layer) of each layer with weights; a part is what stands before the number in a layer's name."""
    for layer in network.layers:
        found = re.match(r"[a-z]+", layer.name)
        name = part or (found[0] if found else layer.name)
        if isinstance(layer, keras.Model):
            yield from _layers(layer, name)
        elif layer.weights:
            yield name, layer


def _weights(network: keras.Model) -> dict[str, Any]:
    return {f"{layer.name}/{weight.name}": weight for _, layer in _layers(network) for weight in layer.weights}
