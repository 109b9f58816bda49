"""Use of a registration model: images in, a transform in physical space out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.errors import AcregError, UsageError, images_by_name
from acreg.geometry import Affine, Displacement, Grid, Transform, Velocity
from acreg.geometry.grid import ROUNDING
from acreg.io import Image, Preprocessing
from acreg.io.inputs import ImageLike, as_image
from acreg.layers.warping import no_gradients
from acreg.losses import LossWeights
from acreg.models.forking import check_process
from acreg.models.memory import available_bytes, peak_bytes


class Registering:
    """`register`, `register_many`, `refine` and `estimate_memory`; a mix-in for `RegistrationModel`."""

    preprocessing: Preprocessing | None
    integration_steps: int

    @images_by_name
    def register(self, *, fixed: ImageLike, moving: ImageLike) -> Transform:
        """Registers ``moving`` onto ``fixed``.

        Args:
            fixed, moving: images of any size and of the model's rank: what `acreg.io.as_image` takes. Spacing and
                orientation are read from them; `acreg.io.Preprocessing` says how they become the network's input.

        Returns:
            An `acreg.geometry.Transform` on the fixed image's own grid: what the network found on its grid (a
            displacement, or a velocity where there is one; then an affine map, where it finds one), then the map from
            its grid in the fixed image to that in the moving one. ``warp_image`` and ``warp_labels`` resample originals
            once.

        Raises:
            UsageError: the images are not given by name.
            AcregError: the model has no ``preprocessing``, an image cannot be read, has another rank or one value
                everywhere, the memory at hand is less than `estimate_memory`, or the process was forked from the one
                in which the first model was made (use "spawn").
        """
        return self.register_many(fixed=[fixed], moving=[moving])[0]

    @images_by_name
    def register_many(self, *, fixed: Sequence[ImageLike], moving: Sequence[ImageLike]) -> list[Transform]:
        """Registers several pairs, the first of ``moving`` onto the first of ``fixed``, by one batch.

        An image that is in several pairs as the same object is read and preprocessed once. Returns and errors are as in
        `register`, for each pair, and `UsageError` where there are not as many of both, or none; memory grows with the
        number of pairs.
        """
        if len(fixed) != len(moving) or not len(fixed):
            raise UsageError(
                "Pairs that are registered have a fixed and a moving image each. "
                f"Received: {len(fixed)} fixed and {len(moving)} moving images. Give as many of both, one or more."
            )
        prepared = self._pairs(list(zip(fixed, moving, strict=True)))
        batch = {role: np.concatenate([pair.batch[role] for pair in prepared]) for role in ("fixed", "moving")}
        kept = self.__dict__  # for Keras not a part of the model
        if "_field" not in kept:
            kept["_field"] = _Field(self)
        found = kept["_field"].predict_on_batch(batch)
        return [
            pair.transform(self, {name: value[n : n + 1] for name, value in found.items()})
            for n, pair in enumerate(prepared)
        ]

    @images_by_name
    def refine(
        self,
        *,
        fixed: ImageLike,
        moving: ImageLike,
        steps: int = 20,
        losses: LossWeights | None = None,
        anchor: float = 0.1,
        learning_rate: float = 0.02,
        patience: int = 5,
        folding_limit: float = 0.01,
    ) -> Transform:
        """Registers a pair, then optimises the predicted field (the velocity, where there is one) for it alone.

        Adam on the network's grid; the field with the lowest loss is returned. It stops early when the loss has not
        fallen for ``patience`` steps, or when more voxels fold than ``folding_limit`` allows. See the model's page for
        what this does to the Dice of labels: a better image similarity can mean worse anatomy.

        Args:
            fixed, moving: as in `register`.
            steps: at most.
            losses: weights of image and field losses, as the model takes them; the default is the local NCC with the
                model's own field losses, because the global NCC was found to lower Dice.
            anchor: weight of the mean squared distance from the predicted field, voxels of its own grid.
            learning_rate: voxels of that grid.
            patience: see above.
            folding_limit: percentage of folded voxels that the field may have beyond those of the predicted one.

        Returns, errors: as `register`; `ValueError` for an unknown loss or one on labels.
        """
        from acreg.models.refinement import refined

        pair = self._pair(fixed, moving)
        found = refined(
            self,  # type: ignore[arg-type]
            pair.batch,
            steps,
            losses=losses,
            anchor=anchor,
            learning_rate=learning_rate,
            patience=patience,
            folding_limit=folding_limit,
        )
        return pair.transform(self, found)

    def estimate_memory(self, shape: tuple[int, ...]) -> int:
        """Bytes that it takes to register one pair on a network's grid of ``shape``.

        Twice the tensors that are alive at once in the network (convolutions keep a copy of their input), and eight
        fields at full resolution. Measured on a CPU, a registration took 0.6 to 1 times this (3-D, 64 to 128 voxels an
        axis, both networks).
        """
        sizes = tuple(self._padded(shape))  # type: ignore[attr-defined]
        network = self.network  # type: ignore[attr-defined]
        inside = peak_bytes(network, [(1, *sizes, x.shape[-1]) for x in network.inputs])
        return 2 * inside + 8 * len(sizes) * 4 * int(np.prod(sizes, dtype=np.int64))

    def _pair(self, fixed: ImageLike, moving: ImageLike) -> _Pair:
        return self._pairs([(fixed, moving)])[0]

    def _pairs(self, pairs: Sequence[tuple[ImageLike, ImageLike]]) -> list[_Pair]:
        check_process()
        if self.preprocessing is None:
            raise AcregError(
                "`register` must know how images become the network's input. Received: a model whose `preprocessing` "
                "is None. Load a preset, or set `model.preprocessing = acreg.io.Preprocessing(shape=...)`."
            )
        need, there = len(pairs) * self._memory_needed(self.preprocessing.shape), available_bytes()
        if there is not None and need > there:
            many = f"{len(pairs)} pairs at once on " if len(pairs) > 1 else ""
            raise AcregError(
                f"A registration needs memory for the network. Received: {many}a network's grid of "
                f"{self.preprocessing.shape}, which takes about {need / 1e9:.1f} GB, and {there / 1e9:.1f} GB that are "
                "free. Close other programs, use a larger machine, or a model with a smaller grid "
                "(`preprocessing.shape`)."
            )
        preprocessing, inputs = self.preprocessing, dict[int, _Input]()

        def prepared(value: ImageLike, role: str) -> _Input:
            if id(value) not in inputs:
                inputs[id(value)] = _Input(preprocessing, as_image(value, role), role)
            return inputs[id(value)]

        return [_Pair(prepared(fixed, "fixed"), prepared(moving, "moving")) for fixed, moving in pairs]

    def _memory_needed(self, shape: tuple[int, ...]) -> int:
        known: dict[tuple[int, ...], int] = self.__dict__.setdefault("_memory_by_shape", {})
        if shape not in known:
            known[shape] = self.estimate_memory(shape)
        return known[shape]


class _Field(keras.Model):
    """`predict_field` of a model, compiled as Keras compiles `predict`."""

    def __init__(self, model: Any) -> None:
        super().__init__(name="field")
        self.model = model
        self.built = True

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        with no_gradients():
            return self.model.predict_field(inputs, training)


class _Input:
    """An image's grid, where the network's grid lies in it, and the network's input."""

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


class _Pair:
    """Two images as the network's input."""

    def __init__(self, fixed: _Input, moving: _Input) -> None:
        self.fixed, self.moving = fixed.image, moving.image
        self.grids = fixed.grid, moving.grid
        self.batch = {"fixed": fixed.array, "moving": moving.array}

    def transform(self, model: Any, found: Mapping[str, Any]) -> Transform:
        """What a model found on its grid, as a transform of physical space over all of the fixed image's extent."""
        grid = self.grids[0]
        name = "velocity" if model.integration_steps else "deformation" if "deformation" in found else "displacement"
        field = np.asarray(ops.convert_to_numpy(found[name])[0], np.float32)
        part: Displacement | Velocity
        if name != "velocity":
            part = Displacement(*_covering(field, grid, self.fixed))
        else:
            padded = model._padded(grid.shape)
            inner = grid.part([-((p - n) // 2) for n, p in zip(grid.shape, padded, strict=True)], padded)
            sizes = field.shape[:-1]
            coarse = inner.centred((np.array(padded) - 1) / 2, sizes, tuple(np.multiply(inner.spacing, padded) / sizes))
            part = Velocity(*_covering(field, coarse, self.fixed), model.integration_steps)
        maps: list[Any] = [part]
        if "affine" in found:
            maps.append(Affine.between_indices(ops.convert_to_numpy(found["affine"])[0], grid, grid))
        return Transform(self.fixed, self.moving, (*maps, Affine.between_extents(*self.grids)))


def _covering(field: np.ndarray, grid: Grid, extent: Grid) -> tuple[np.ndarray, Grid]:
    """A field, by its edge values, on a grid that reaches as far as `extent`: beyond its grid a map moves nothing."""
    corners = np.stack(np.meshgrid(*([-0.5, n - 0.5] for n in extent.shape), indexing="ij"), -1).reshape(-1, grid.rank)
    reach = grid.to_index(extent.to_world(corners))
    before = np.ceil(np.maximum(-0.5 - reach.min(axis=0) - ROUNDING, 0)).astype(int)
    after = np.ceil(np.maximum(reach.max(axis=0) + 0.5 - grid.shape - ROUNDING, 0)).astype(int)
    wider = grid.part(-before, grid.shape + before + after)
    return np.pad(field, [*zip(before, after, strict=True), (0, 0)], mode="edge"), wider
