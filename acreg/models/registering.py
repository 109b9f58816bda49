"""Registration with a model: from two images to a transform in physical space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Displacement, Transform, Velocity
from acreg.geometry.extents import covering
from acreg.geometry.maps import Map
from acreg.io import Image, Preprocessing
from acreg.io.inputs import ImageLike, as_image
from acreg.layers.tensor import Tensor
from acreg.layers.warping import no_gradients
from acreg.models.field_model import FieldModel
from acreg.models.forking import check_process
from acreg.models.memory import available_bytes, peak_bytes
from acreg.models.refinement import RefinementSettings, Refining, over, padded_grid


class Registering:
    """Registers pairs with one model.

    Between calls it keeps a compiled prediction, which is a Keras model as well, and a refinement. It is a separate
    object, so that Keras does not treat them as parts of the model that is trained and saved.
    """

    def __init__(self, model: FieldModel) -> None:
        self.model = model
        self._memory: dict[tuple[int, ...], int] = {}
        self._refining = Refining(model)

    @cached_property
    def _field(self) -> keras.Model:
        return _Field(self.model)

    def register_many(self, fixed: Sequence[ImageLike], moving: Sequence[ImageLike]) -> list[Transform]:
        """See `RegistrationModel.register_many`."""
        if len(fixed) != len(moving) or not len(fixed):
            raise UsageError(
                "Pairs that are registered have a fixed and a moving image each. "
                f"Received: {len(fixed)} fixed and {len(moving)} moving images. Give as many of both, one or more."
            )
        prepared = self.pairs(list(zip(fixed, moving, strict=True)))
        batch = {role: np.concatenate([pair.batch[role] for pair in prepared]) for role in ("fixed", "moving")}
        found = self._field.predict_on_batch(batch)
        return [
            pair.transform(self.model, {name: value[n : n + 1] for name, value in found.items()})
            for n, pair in enumerate(prepared)
        ]

    def refine(self, fixed: ImageLike, moving: ImageLike, settings: RefinementSettings) -> Transform:
        """See `RegistrationModel.refine`."""
        pair = self.pair(fixed, moving)
        return pair.transform(self.model, self._refining.refined(pair.batch, pair.grids[0], settings))

    def memory_of(self, shape: tuple[int, ...]) -> int:
        """See `RegistrationModel.estimate_memory`."""
        sizes = tuple(self.model._padded(shape))
        network = self.model.network
        inside = peak_bytes(network, [(1, *sizes, x.shape[-1]) for x in network.inputs])
        return 2 * inside + 8 * len(sizes) * 4 * int(np.prod(sizes, dtype=np.int64))

    def pair(self, fixed: ImageLike, moving: ImageLike) -> Pair:
        """Two images that were read and preprocessed."""
        return self.pairs([(fixed, moving)])[0]

    def pairs(self, pairs: Sequence[tuple[ImageLike, ImageLike]]) -> list[Pair]:
        """Read and preprocess images; an image object that occurs in several pairs is preprocessed once."""
        check_process()
        preprocessing = self.model.preprocessing
        if preprocessing is None:
            raise AcregError(
                "`register` must know how images become the network's input. Received: a model whose `preprocessing` "
                "is None. Load a preset, or set `model.preprocessing = acreg.io.Preprocessing(shape=...)`."
            )
        need, there = len(pairs) * self._memory_needed(preprocessing.shape), available_bytes()
        if there is not None and need > there:
            many = f"{len(pairs)} pairs at once on " if len(pairs) > 1 else ""
            raise AcregError(
                f"A registration needs memory for the network. Received: {many}a network's grid of "
                f"{preprocessing.shape}, which takes about {need / 1e9:.1f} GB, and {there / 1e9:.1f} GB that are "
                "free. Close other programs, use a larger machine, or a model with a smaller grid "
                "(`preprocessing.shape`)."
            )
        inputs: dict[int, _Input] = {}

        def prepared(value: ImageLike, role: str) -> _Input:
            if id(value) not in inputs:
                inputs[id(value)] = _Input(preprocessing, as_image(value, role), role)
            return inputs[id(value)]

        return [Pair(prepared(fixed, "fixed"), prepared(moving, "moving")) for fixed, moving in pairs]

    def _memory_needed(self, shape: tuple[int, ...]) -> int:
        if shape not in self._memory:
            self._memory[shape] = self.memory_of(shape)
        return self._memory[shape]


class _Field(keras.Model):
    """`predict_field` of a model, compiled as Keras compiles `predict`."""

    def __init__(self, model: Any) -> None:
        super().__init__(name="field")
        self.model = model
        self.built = True

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        with no_gradients():
            return self.model.predict_field(inputs, training)


class _Input:
    """The grid of an image, the network's grid in it, and the input of the network."""

    def __init__(self, preprocessing: Preprocessing, image: Image, role: str) -> None:
        self.image = image.grid
        self.grid = preprocessing.grid(image)
        self.array = preprocessing.apply(image, self.grid)[None]
        if np.ptp(self.array) == 0:
            raise AcregError(
                f"Images to register show something. Received: a {role} image with intensities from "
                f"{image.array.min():g} to {image.array.max():g}, which has one value everywhere on the network's "
                "grid. Look at the file, and at the preset's `preprocessing`."
            )


class Pair:
    """Two images as the input of the network."""

    def __init__(self, fixed: _Input, moving: _Input) -> None:
        self.fixed, self.moving = fixed.image, moving.image
        self.grids = fixed.grid, moving.grid
        self.batch = {"fixed": fixed.array, "moving": moving.array}

    def transform(self, model: Any, found: Mapping[str, Tensor]) -> Transform:
        """The result of a model on its grid, as a transform in physical space over the extent of the fixed image."""
        grid = self.grids[0]
        name = "velocity" if model.integration_steps else "deformation" if "deformation" in found else "displacement"
        field = np.asarray(ops.convert_to_numpy(found[name])[0], np.float32)
        part: Displacement | Velocity
        if name != "velocity":
            part = Displacement(*covering(field, grid, self.fixed))
        else:
            coarse = over(padded_grid(model, grid), field.shape[:-1])
            part = Velocity(*covering(field, coarse, self.fixed), model.integration_steps)
        maps: list[Map] = [part]
        if "affine" in found:
            maps.append(Affine.between_indices(ops.convert_to_numpy(found["affine"])[0], grid, grid))
        return Transform(self.fixed, self.moving, (*maps, Affine.between_extents(*self.grids)))
