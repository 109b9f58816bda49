"""Registration with a network, whatever runs it: from two images to a transform in physical space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acreg.errors import AcregError, UsageError, argument
from acreg.geometry import Affine, Displacement, Grid, Transform, Velocity, labels_on, sample_image, sample_labels
from acreg.geometry.extents import covering
from acreg.geometry.maps import Map
from acreg.inference.forking import check_process
from acreg.inference.memory import available_bytes
from acreg.io import Image, Preprocessing
from acreg.io.inputs import ImageLike, as_image

Arrays = Mapping[str, NDArray[np.float32]]


class Network(Protocol):
    """What runs a registration network: Keras, or ONNX Runtime."""

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How images become its input."""
        ...

    @property
    def multiple(self) -> int:
        """What the sizes of its grid are padded to inside."""
        ...

    @property
    def integration_steps(self) -> int:
        """Squarings of its velocity; 0 if its field is a displacement."""
        ...

    @property
    def takes_mask(self) -> bool:
        """Whether the mask of the fixed image is an input."""
        ...

    def predict(self, batch: Arrays) -> Arrays:
        """The result for a batch of pairs.

        Args:
            batch: ``"fixed"`` and ``"moving"``, ``(batch, *spatial, channels)`` float32; if the network takes the mask
                of the fixed image, also ``"fixed_labels"``, ``(batch, *spatial, 1)``, which are 0 outside it.

        Returns:
            ``"velocity"`` on the network's own grid, ``(batch, *coarse, rank)``, or ``"displacement"`` on that of the
            images, both in voxels of their grid; ``"affine"``, ``(batch, rank, rank + 1)`` in voxels of the images, if
            the network predicts one; ``"activation"``, ``(batch, *spatial, 1)``, and its ``"threshold"``, if it
            segments. A network that predicts an affine map alone may leave out the field.
        """
        ...

    def memory_of(self, shape: tuple[int, ...]) -> int:
        """The bytes needed for one pair on a grid of this shape."""
        ...


class Registering:
    """Registers pairs with one network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._memory: dict[tuple[int, ...], int] = {}

    def register_many(
        self, fixed: Sequence[ImageLike], moving: Sequence[ImageLike], masks: Sequence[ImageLike | None] | None = None
    ) -> list[Transform]:
        """See `RegistrationModel.register_many`; ``masks`` are those of the fixed images."""
        if len(fixed) != len(moving) or not len(fixed):
            raise UsageError(
                "Pairs that are registered have a fixed and a moving image each. "
                f"Received: {len(fixed)} fixed and {len(moving)} moving images. Give as many of both, one or more."
            )
        prepared = self.pairs(list(zip(fixed, moving, strict=True)), masks)
        batch = {name: np.concatenate([pair.batch[name] for pair in prepared]) for name in prepared[0].batch}
        found = self.network.predict(batch)
        return [
            pair.transform(self.network, {name: value[n : n + 1] for name, value in found.items()})
            for n, pair in enumerate(prepared)
        ]

    def segment(self, fixed: ImageLike, moving: ImageLike, mask: ImageLike | None = None) -> Image:
        """See `JRSNet.segment`."""
        pair = self.pair(fixed, moving, mask)
        found = self.network.predict(pair.batch)
        threshold = float(found["threshold"].ravel()[0])
        activation = sample_image(found["activation"][0, ..., 0], pair.grids[0], pair.fixed, outside=0.0)
        return Image((activation > threshold).astype(np.int32), pair.fixed, kind="labels", name="mask")

    def pair(self, fixed: ImageLike, moving: ImageLike, mask: ImageLike | None = None) -> Pair:
        """Two images that were read and preprocessed."""
        return self.pairs([(fixed, moving)], [mask])[0]

    def pairs(
        self, pairs: Sequence[tuple[ImageLike, ImageLike]], masks: Sequence[ImageLike | None] | None = None
    ) -> list[Pair]:
        """Read and preprocess images; an image object that occurs in several pairs is preprocessed once.

        Args:
            pairs: fixed and moving images.
            masks: of the fixed images, for a network that takes them, and for no other.
        """
        check_process()
        masks = [None] * len(pairs) if masks is None else masks
        self._check_masks(masks)
        preprocessing = self.network.preprocessing
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

        return [
            Pair(prepared(fixed, "fixed"), prepared(moving, "moving"), mask)
            for (fixed, moving), mask in zip(pairs, masks, strict=True)
        ]

    def _check_masks(self, masks: Sequence[ImageLike | None]) -> None:
        """Raise `UsageError` unless there are masks where the network takes them."""
        if self.network.takes_mask and any(mask is None for mask in masks):
            raise UsageError(
                "The mask of the fixed image is an input of this network (its `takes_mask`), when it registers and "
                f"when it segments. Received: a pair without a mask. Give {argument('fixed_mask')}, or use a network "
                "that takes two images alone."
            )
        if not self.network.takes_mask and any(mask is not None for mask in masks):
            raise UsageError(
                "A network takes a mask if it was made with `takes_mask=True`. Received: "
                f"{argument('fixed_mask')} for another network. Leave it out."
            )

    def _memory_needed(self, shape: tuple[int, ...]) -> int:
        if shape not in self._memory:
            self._memory[shape] = self.network.memory_of(shape)
        return self._memory[shape]


class _Input:
    """The grid of an image, the network's grid in it, and the input of the network."""

    def __init__(self, preprocessing: Preprocessing, image: Image, role: str) -> None:
        self.given, self.image = image, image.grid
        self.grid = preprocessing.grid(image)
        self.array = preprocessing.apply(image, self.grid)[None]
        if np.ptp(self.array) == 0:
            raise AcregError(
                f"Images to register show something. Received: a {role} image with intensities from "
                f"{image.array.min():g} to {image.array.max():g}, which has one value everywhere on the network's "
                "grid. Look at the file, and at the preset's `preprocessing`."
            )


class Pair:
    """Two images, and the mask of the fixed one, as the input of the network."""

    def __init__(self, fixed: _Input, moving: _Input, mask: ImageLike | None = None) -> None:
        self.fixed, self.moving = fixed.image, moving.image
        self.grids = fixed.grid, moving.grid
        self.batch = {"fixed": fixed.array, "moving": moving.array}
        if mask is not None:
            placed = labels_on(as_image(mask, "fixed_mask", "labels"), fixed.given)
            drawn = sample_labels((placed.array != 0).astype(np.int32), placed.grid, fixed.grid)
            self.batch["fixed_labels"] = drawn.astype(np.float32)[None, ..., None]

    def transform(self, network: Network, found: Arrays) -> Transform:
        """The result of a network on its grid, as a transform in physical space over the extent of the fixed image."""
        grid = self.grids[0]
        maps: list[Map] = []
        if network.integration_steps and "velocity" in found:
            field = found["velocity"][0]
            coarse = over(padded_grid(network.multiple, grid), field.shape[:-1])
            maps.append(Velocity(*covering(field, coarse, self.fixed), network.integration_steps))
        elif "displacement" in found:
            maps.append(Displacement(*covering(found["displacement"][0], grid, self.fixed)))
        if "affine" in found:
            maps.append(Affine.between_indices(found["affine"][0], grid, grid))
        return Transform(self.fixed, self.moving, (*maps, Affine.between_extents(*self.grids)))


def padded_sizes(sizes: Sequence[Any], multiple: int) -> list[Any]:
    """The sizes, integers or tensors of them, of a grid that is padded to multiples of a number."""
    return [(n + multiple - 1) // multiple * multiple for n in sizes]


def padded_grid(multiple: int, grid: Grid) -> Grid:
    """The network's grid with the voxels that it is padded by inside."""
    sizes = padded_sizes(grid.shape, multiple)
    return grid.part([-((p - n) // 2) for n, p in zip(grid.shape, sizes, strict=True)], sizes)


def over(grid: Grid, shape: Sequence[int]) -> Grid:
    """A grid of other sizes over the same extent."""
    return grid.centred((np.array(grid.shape) - 1) / 2, shape, tuple(np.multiply(grid.spacing, grid.shape) / shape))
