"""Presets: a folder with everything that a trained model needs to be used."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from keras import ops

import acreg
from acreg.errors import AcregError, UsageError
from acreg.io import Preprocessing, all_or_none, require_space
from acreg.io.hdf5 import new_hdf5
from acreg.io.preset_config import AGAIN, FORMAT, check_weights_file, read_preset_config, sha256_of
from acreg.io.stored_weights import count_values, open_weights
from acreg.models.arguments import check_arguments, count_weights
from acreg.models.forking import check_process
from acreg.models.registered import registered_models, registered_name

if TYPE_CHECKING:
    from acreg.models.label_autoencoder import LabelAutoencoder
    from acreg.models.registration_model import RegistrationModel

SHIPPED = Path(__file__).resolve().parent.parent / "presets"


NOT_STORED = ("preprocessing", "augmentation", "name", "trainable", "dtype")
"""What a preset's config.json leaves out: these are of training, or have a file of their own."""


def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a model that decide its weights and what it computes, out of its `get_config`."""
    return {name: value for name, value in config.items() if name not in NOT_STORED}


class Preset:
    """Saving of a model as a preset folder; a mix-in for Keras models with a ``preprocessing``."""

    preprocessing: Preprocessing | None

    def remade(self, **changed: Any) -> Any:
        """A new model with the configuration of this one, some of it changed."""
        return type(self).from_config({**self.get_config(), **changed})  # type: ignore[attr-defined]

    def plain_copy(self) -> Any:
        """A fresh model that holds what use needs, the weights alone: no optimiser, no metrics."""
        plain = self.remade()
        plain.set_weights(self.get_weights())  # type: ignore[attr-defined]
        return plain

    def save_preset(self, folder: str | os.PathLike[str], card: str = "") -> Path:
        """Writes ``config.json``, ``model.weights.h5``, ``preprocessing.json`` and ``model_card.md``.

        Args:
            folder: made if absent; files of the same names are replaced, all at once.
            card: Markdown text of the model card (data, licence, recipe, seed, scores, limits).

        Raises:
            AcregError: when the model has no ``preprocessing``, without which it cannot be used.
        """
        if self.preprocessing is None:
            raise AcregError(
                "A preset must say how images become the network's input. Received: a model whose `preprocessing` is "
                "None. Set `model.preprocessing = acreg.io.Preprocessing(shape=...)` first."
            )
        folder = Path(folder)
        plain = self.plain_copy()
        config = plain.get_config()
        size = sum(weight.nbytes for weight in plain.get_weights())
        require_space(folder / "model.weights.h5", 2 * size + 2**20)
        card = card or f"# {folder.name}\n\nThis preset has no model card.\n"
        with all_or_none(folder) as staged:
            plain.save_weights(staged / "model.weights.h5")
            _compress(staged / "model.weights.h5")
            self.preprocessing.to_json(staged / "preprocessing.json")
            content = {
                "format": FORMAT,
                "acreg": acreg.__version__,
                "class": registered_name(type(self)),
                "config": arguments_of(config),
                "weights_sha256": sha256_of(staged / "model.weights.h5"),
            }
            (staged / "model_card.md").write_text(card, encoding="utf-8")
            (staged / "config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return folder


def from_preset(name_or_folder: str | os.PathLike[str]) -> RegistrationModel | LabelAutoencoder:
    """Loads a trained model: a preset that ships with acreg, by name, or any preset folder.

    Returns:
        The model, such as an `ACRegNet`, with its ``preprocessing``. Presets of autoencoders give a `LabelAutoencoder`,
        which does not register.

    Raises:
        UsageError: no such preset.
        AcregError: a file of the preset is missing or does not fit the others; or the process was forked from one that
            used a model, in which TensorFlow would wait for ever.

    Example:

    >>> model = acreg.from_preset("acregnet-jsrt")
    >>> transform = model.register(fixed="a.png", moving="b.png")
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
    """A model by the name of its class and its arguments, as JSON has them, with its weights.

    Args:
        class_name: see `registered_models`.
        config: its arguments.
        weights: a file that `save_weights` wrote.
        source: where class and arguments come from, for messages.
        trusted: the weights came with acreg, see `open_weights`.

    Raises:
        AcregError: an unknown class, arguments that it does not have or refuses, or other weights than the model's,
            which are checked before memory is taken for the model.
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
        # Keras may pass over a part that the file lacks; what it did not load is still NaN.
        missing = [v.path for v in model.weights if not np.isfinite(np.asarray(v)).all()]
        if missing:
            raise ValueError(f"{len(missing)} of {len(model.weights)} are absent or not finite, such as {missing[0]}")
    except Exception as error:  # h5py and Keras raise many types for a file that another program wrote
        raise AcregError(
            f"The weights of a preset must be those of the model in its config.json. Received: {weights}, which could "
            f"not be loaded into {class_name} ({_first_line(error)}). {AGAIN[:-1]}; files of two presets cannot be "
            "mixed."
        ) from error
    return model


def preset_folder(name_or_folder: str | os.PathLike[str]) -> Path:
    """The folder of a shipped preset or a given folder.

    Raises:
        UsageError: neither exists; names what ships and the nearest name.
    """
    shipped = shipped_presets()
    if str(name_or_folder) in shipped:
        return SHIPPED / str(name_or_folder)
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    near = difflib.get_close_matches(str(name_or_folder), shipped, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UsageError(
        f"A preset is a folder, or the name of one that ships with acreg. Received: '{name_or_folder}', which is "
        f"neither.{hint} These ship: {', '.join(shipped) or 'none'}."
    )


def preset_digest(name_or_folder: str | os.PathLike[str]) -> str:
    """Another one where the weights, the configuration or the preprocessing are others. Errors: `preset_folder`."""
    files = sorted(p for p in preset_folder(name_or_folder).iterdir() if p.suffix in (".json", ".h5"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def shipped_presets() -> list[str]:
    """Names of the presets that ship with acreg."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


def _compress(path: Path) -> None:
    """Packs a HDF5 file losslessly: Keras writes each variable as it is, among wide groups."""
    packed = path.with_name(f"{path.name}.packed")
    try:
        with h5py.File(path, "r") as source, new_hdf5(packed, libver="latest") as target:

            def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
                if isinstance(item, h5py.Dataset):
                    packing = {"compression": "gzip", "shuffle": True} if item.size > 256 else {}
                    copied = target.create_dataset(name, data=item[()], **packing)
                else:
                    copied = target.require_group(name)
                copied.attrs.update(item.attrs)

            source.visititems(copy)
        packed.replace(path)
    finally:
        packed.unlink(missing_ok=True)


def _check_model(class_name: str, config: Mapping[str, Any], source: Path) -> tuple[Any, int]:
    """The class of that name, with arguments that it takes.

    Returns:
        The class, and how many numbers its weights have.

    Raises:
        AcregError: an unknown class, or arguments that it does not have or refuses, or too large ones.
    """
    from acreg import models

    classes = registered_models(Preset)
    if class_name not in classes:
        raise AcregError(
            f"A preset's class must be one of {', '.join(classes)}. Received: {class_name!r} in {source}. "
            "Install the acreg version that wrote it, or import the package that registers the class."
        )
    model = classes[class_name]
    try:
        check_arguments(model, config)
        if isinstance(config.get("autoencoder"), Mapping):
            check_arguments(models.LabelAutoencoder, config["autoencoder"])
        return model, count_weights(model, config)
    except AcregError:
        raise
    except Exception as error:  # what constructors and Keras raise for odd values has many types
        raise AcregError(
            f"A preset's config must hold the arguments of its class. Received: {source}, refused by {class_name} "
            f"({_first_line(error)}). {AGAIN}"
        ) from error


def load_autoencoder(name_or_folder: str | os.PathLike[str]) -> LabelAutoencoder:
    """The label autoencoder of a preset.

    Raises:
        UsageError: the preset is that of another model, or there is none.
        AcregError: as `from_preset`.
    """
    from acreg.models import LabelAutoencoder

    model = from_preset(name_or_folder)
    if not isinstance(model, LabelAutoencoder):
        raise UsageError(
            f"The preset of a label autoencoder is needed. Received: {name_or_folder}, a {type(model).__name__}. Give "
            "that of an autoencoder: a training run keeps its own in the folder `autoencoder`, and `acreg convert` "
            "makes one of its checkpoint."
        )
    return model


def _check_grid(folder: Path, model: RegistrationModel | LabelAutoencoder, preprocessing: Preprocessing) -> None:
    from acreg.models import LabelAutoencoder

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
