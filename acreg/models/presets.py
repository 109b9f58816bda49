"""Presets: a folder with everything that a trained model needs to be used."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import ops

import acreg
from acreg.errors import AcregError, UsageError
from acreg.io import Preprocessing, all_or_none, require_space
from acreg.io.hdf5 import new_hdf5
from acreg.models.forking import check_process

FORMAT = 1
SHIPPED = Path(__file__).resolve().parent.parent / "presets"


class Preset:
    """Saving of a model as a preset folder; a mix-in for Keras models with a ``preprocessing``."""

    preprocessing: Preprocessing | None

    def plain_copy(self) -> Any:
        """A fresh model that holds what use needs, the weights alone: no optimiser, no metrics."""
        plain = type(self).from_config(self.get_config())  # type: ignore[attr-defined]
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
        for name in ("preprocessing", "augmentation", "name", "trainable", "dtype"):  # the rest is of training
            config.pop(name, None)
        content = {"format": FORMAT, "acreg": acreg.__version__, "class": type(self).__name__, "config": config}
        card = card or f"# {folder.name}\n\nThis preset has no model card.\n"
        with all_or_none(folder) as staged:
            plain.save_weights(staged / "model.weights.h5")
            _compress(staged / "model.weights.h5")
            self.preprocessing.to_json(staged / "preprocessing.json")
            (staged / "model_card.md").write_text(card, encoding="utf-8")
            (staged / "config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return folder


def from_preset(name_or_folder: str | os.PathLike[str]) -> Any:
    """Loads a trained model: a preset that ships with acreg, by name, or any preset folder.

    Returns:
        The model, such as an `ACRegNet`, with its ``preprocessing``.

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
    content = _read_config(folder / "config.json")
    preprocessing = Preprocessing.from_json(folder / "preprocessing.json")
    model = _make_model(folder, content)
    _check_grid(folder, model, preprocessing)
    model.preprocessing = preprocessing
    weights = folder / "model.weights.h5"
    if not weights.is_file():
        raise AcregError(
            f"A preset folder must hold model.weights.h5. Received: {folder}, which has none. "
            "Get the whole folder again."
        )
    for variable in model.weights:
        variable.assign(ops.full(variable.shape, np.nan, variable.dtype))
    try:
        model.load_weights(weights)
        # Keras may pass over a part that the file lacks; what it did not load is still NaN.
        missing = [v.path for v in model.weights if not np.isfinite(np.asarray(v)).all()]
        if missing:
            raise ValueError(f"{len(missing)} of {len(model.weights)} are absent or not finite, such as {missing[0]}")
    except (ValueError, OSError, KeyError) as error:
        raise AcregError(
            f"The weights of a preset must be those of the model in its config.json. Received: {weights}, which could "
            f"not be loaded into {content['class']} ({_first_line(error)}). Get the whole folder again; files of two "
            "presets cannot be mixed."
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


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AcregError(
            f"A preset folder must hold config.json. Received: {path.parent}, which has none. Give the folder that "
            "`save_preset` or `acreg train` wrote (in a run it is called 'preset')."
        ) from None
    except ValueError as error:
        raise AcregError(
            f"A preset's config.json must be JSON. Received: {path} ({_first_line(error)}). Get the whole folder again."
        ) from error
    if not isinstance(content, dict) or not {"format", "class", "config"} <= set(content):
        raise AcregError(
            f"A preset's config.json must have the keys format, class and config. Received: {path}. Get the whole "
            "folder again."
        )
    if content["format"] != FORMAT:
        raise AcregError(
            f"This acreg reads presets of format {FORMAT}. Received: {path} of format {content['format']}, written by "
            f"acreg {content.get('acreg', '?')}. Install that version or a later one."
        )
    return content


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


def _make_model(folder: Path, content: dict[str, Any]) -> keras.Model:
    from acreg import models

    public = {name: getattr(models, name) for name in models.__all__ if name != "RegistrationModel"}
    classes: dict[str, Any] = {name: c for name, c in public.items() if isinstance(c, type) and issubclass(c, Preset)}
    if content["class"] not in classes:
        raise AcregError(
            f"A preset's class must be one of {', '.join(classes)}. Received: {content['class']!r} in {folder}. "
            "Install the acreg version that wrote it."
        )
    try:
        return classes[content["class"]].from_config(dict(content["config"]))
    except (TypeError, ValueError, KeyError) as error:
        raise AcregError(
            f"A preset's config must hold the arguments of its class. Received: {folder / 'config.json'}, refused by "
            f"{content['class']} ({_first_line(error)}). Get the whole folder again."
        ) from error


def _check_grid(folder: Path, model: Any, preprocessing: Preprocessing) -> None:
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
