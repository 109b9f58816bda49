"""The base of registration models and label autoencoders: it checks labels, and saves and loads presets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import keras

import acreg
from acreg.errors import AcregError
from acreg.io import Preprocessing, all_or_none, require_space
from acreg.io.hdf5 import new_hdf5
from acreg.io.preset_config import FORMAT, sha256_of
from acreg.layers.tensor import Tensor
from acreg.models.label_values import check_labels
from acreg.models.registered import registered_name

if TYPE_CHECKING:
    from typing_extensions import Self

NOT_STORED = ("preprocessing", "augmentation", "image_augmentation", "name", "trainable", "dtype")
"""Arguments that are not in the config.json of a preset, because they concern training or have a separate file."""


def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in a model's `get_config` that determine its weights and its computation."""
    return {name: value for name, value in config.items() if name not in NOT_STORED}


class PresetModel(keras.Model):
    """A model of images or labels that is saved as a preset folder, and is trained only with labels that it knows.

    `fit` and `evaluate` check the labels they are given, once: all labels of arrays and of acreg's samplers, the first
    batch of other datasets, none of a generator. If a later batch has a label that is not the model's, the loss is NaN
    (`acreg.models.label_values.unknown_labels`).
    """

    network: keras.Model
    num_classes: Any  # None in models without labels
    preprocessing: Preprocessing | None

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`.

        Raises:
            AcregError: labels are not integers from 0 to ``num_classes - 1``.
        """
        check_labels(x, self.num_classes)
        check_labels(kwargs.get("validation_data"), self.num_classes)
        if self.built and self.optimizer is not None and not self.optimizer.built:
            # TensorFlow traces the step twice where its first call makes variables.
            strategy = getattr(self, "distribute_strategy", None)
            with nullcontext() if strategy is None else strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; errors as `fit`."""
        check_labels(x, self.num_classes)
        return super().evaluate(x, *args, **kwargs)

    def added_losses(self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor, training: bool) -> Tensor:
        """What users of Keras add to a model's own loss: that of `compile`, `add_loss` and regularisers; 0 for none."""
        if self._compile_loss is None and not self.losses:
            return 0.0
        return super().compute_loss(x, y, _outputs(y, y_pred), sample_weight, training)

    def compute_metrics(self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> dict[str, Any]:
        """As `keras.Model.compute_metrics`; targets may be given for some of the outputs."""
        metrics: dict[str, Any] = super().compute_metrics(x, y, _outputs(y, y_pred), sample_weight)
        return metrics

    def export(
        self, filepath: Any, format: str = "tf_saved_model", verbose: Any = None, input_signature: Any = None, **kw: Any
    ) -> None:
        """As `keras.Model.export`, also of a model that was never called: by default, for images of any size."""
        if input_signature is None:
            inputs = self._inputs()
            input_signature = [
                keras.tree.map_structure(lambda x: keras.InputSpec(x.dtype, x.shape, name=x.name), inputs)
            ]
        super().export(filepath, format, verbose, input_signature, **kw)

    def _inputs(self) -> Any:
        """The inputs of the network."""
        return self.network.input

    def remade(self, **changed: Any) -> Self:
        """A new model with the configuration of this one, some of it changed."""
        return type(self).from_config({**self.get_config(), **changed})

    def plain_copy(self) -> Self:
        """A new model with only what is needed to use it: the weights, without optimiser and metrics."""
        plain = self.remade()
        plain.set_weights(self.get_weights())
        return plain

    def save_preset(self, folder: str | os.PathLike[str], card: str = "") -> Path:
        """Writes ``config.json``, ``model.weights.h5``, ``preprocessing.json`` and ``model_card.md``.

        Args:
            folder: created if absent; files with the same names are replaced, all at once.
            card: Markdown text of the model card (data, licence, recipe, seed, scores, limits).

        Raises:
            AcregError: the model has no ``preprocessing``, without which it cannot be used.
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


def _outputs(y: Tensor, y_pred: Tensor) -> Tensor:
    """The outputs for which there are targets.

    Raises:
        ValueError: a target for something that is no output.
    """
    if not isinstance(y, Mapping) or not isinstance(y_pred, Mapping):
        return y_pred
    if unknown := sorted(set(y) - set(y_pred)):
        raise ValueError(f"A target must be one for an output, of {sorted(y_pred)}. Received: targets for {unknown}")
    return {name: y_pred[name] for name in y}


def _compress(path: Path) -> None:
    """Compresses an HDF5 file losslessly: Keras writes variables uncompressed, with large groups."""
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
