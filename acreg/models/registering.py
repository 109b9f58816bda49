"""Registration with a Keras model, and the refinement of its results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.geometry import Transform
from acreg.inference.registering import Arrays, Registering, padded_sizes
from acreg.io import Preprocessing
from acreg.io.inputs import ImageLike
from acreg.layers.tensor import Tensor
from acreg.layers.warping import no_gradients
from acreg.models.field_model import FieldModel
from acreg.models.memory import peak_bytes
from acreg.models.refinement import RefinementSettings, Refining


class KerasNetwork:
    """A model as an `acreg.inference.Network`.

    Between calls it keeps a compiled prediction, which is a Keras model as well. It is a separate object, so that
    Keras does not treat that as a part of the model that is trained and saved.
    """

    def __init__(self, model: FieldModel) -> None:
        self.model = model

    @property
    def preprocessing(self) -> Preprocessing | None:
        """See `Network`."""
        return self.model.preprocessing

    @property
    def multiple(self) -> int:
        """See `Network`."""
        return self.model.multiple

    @property
    def integration_steps(self) -> int:
        """See `Network`."""
        return self.model.integration_steps

    @property
    def takes_mask(self) -> bool:
        """See `Network`."""
        return bool(getattr(self.model, "takes_mask", False))

    @cached_property
    def _field(self) -> keras.Model:
        return _Field(self.model)

    def predict(self, batch: Arrays) -> Arrays:
        """See `Network`."""
        found = self._field.predict_on_batch(batch)
        return {name: np.asarray(ops.convert_to_numpy(value)) for name, value in found.items()}

    def memory_of(self, shape: tuple[int, ...]) -> int:
        """See `RegistrationModel.estimate_memory`."""
        sizes = tuple(padded_sizes(shape, self.multiple))
        network = self.model.network
        inside = peak_bytes(network, [(1, *sizes, x.shape[-1]) for x in network.inputs])
        return 2 * inside + 8 * len(sizes) * 4 * int(np.prod(sizes, dtype=np.int64))


class RegisteringModel(Registering):
    """Registers pairs with one model, and refines the results."""

    def __init__(self, model: FieldModel) -> None:
        super().__init__(KerasNetwork(model))
        self._refining = Refining(model)

    def refine(self, fixed: ImageLike, moving: ImageLike, settings: RefinementSettings) -> Transform:
        """See `RegistrationModel.refine`."""
        pair = self.pair(fixed, moving)
        found = self._refining.refined(pair.batch, pair.grids[0], settings)
        return pair.transform(self.network, {n: np.asarray(ops.convert_to_numpy(x)) for n, x in found.items()})


class _Field(keras.Model):
    """`predict_field` of a model, compiled as Keras compiles `predict`."""

    def __init__(self, model: Any) -> None:
        super().__init__(name="field")
        self.model = model
        self.built = True

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        with no_gradients():
            return self.model.predict_field(inputs, training)
