"""Affine maps as displacements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from acreg.layers import functional
from acreg.layers.tensor import Tensor

KINDS = ("rigid", "similarity", "affine")


@keras.saving.register_keras_serializable("acreg")
class AffineToDisplacement(keras.layers.Layer):
    """The displacement of a rigid, similarity or affine map, whose parameters are 0 for the identity.

    Coordinates are centred and normalised: 0 is the centre of the grid, and 1 is half of its longest side, along all
    axes. A rotation of a grid with equal spacings is therefore a rotation in space, regardless of its shape.

    Args:
        kind: the meaning of the parameters, in order. ``"affine"``: the rows of a ``rank x (rank + 1)`` matrix, which
            is added to the identity; its last column is the translation. ``"rigid"``: the rotation, which is an angle
            in radians in 2-D (from array axis 0 towards axis 1) and in 3-D a vector whose direction is the axis and
            whose length is the angle; then the translation. ``"similarity"``: the same, then the logarithm of the
            scale.

    Call arguments:
        parameters: ``(batch, count)``, see `count`.
        like: ``(batch, *spatial, channels)``, of which only the grid is used.

    Returns:
        ``u``, float32 ``(batch, *spatial, rank)`` in voxels; `matrix` gives the map itself.

    Raises:
        ValueError: an unknown ``kind``, or another number of parameters.

    Example:

    >>> layer = acreg.layers.AffineToDisplacement("rigid")
    >>> layer(keras.ops.zeros((1, 6)), keras.ops.zeros((1, 32, 32, 32, 1))).shape
    (1, 32, 32, 32, 3)
    """

    def __init__(self, kind: str = "affine", **kwargs: Any) -> None:
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
        super().__init__(autocast=False, **kwargs)
        self.kind = kind

    @staticmethod
    def count(kind: str, rank: int) -> int:
        """The number of parameters of a kind of map: 3, 4 and 6 in 2-D; 6, 7 and 12 in 3-D."""
        rotation = 1 if rank == 2 else 3
        return {"rigid": rotation + rank, "similarity": rotation + rank + 1, "affine": rank * (rank + 1)}[kind]

    def call(self, parameters: Tensor, like: Tensor = None) -> Tensor:
        parameters, like = functional.two(("parameters", "like"), parameters, like)
        self._check(parameters.shape, like.shape)
        sizes = functional.spatial_shape(like)
        return functional.affine_displacement(self.matrix(parameters, sizes), sizes)

    def matrix(self, parameters: Tensor, shape: Sequence[int | Tensor]) -> Tensor:
        """The map on a grid of the spatial ``shape``: float32 ``(batch, rank, rank + 1)``, voxels.

        It takes ``p`` to ``matrix (p, 1)``.
        """
        linear, translation = self._parts(ops.cast(parameters, "float32"), len(shape))
        lengths = ops.stack([ops.cast(n, "float32") for n in shape])
        centre = (lengths - 1.0) / 2.0
        shift = centre - ops.squeeze(ops.matmul(linear, centre[:, None]), -1) + translation * ops.max(lengths) / 2.0
        return ops.concatenate([linear, shift[..., None]], axis=-1)

    def _parts(self, parameters: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        """Linear part ``(batch, rank, rank)`` and translation ``(batch, rank)``, in normalised coordinates."""
        if self.kind == "affine":
            offset = ops.reshape(parameters, (-1, rank, rank + 1))
            return offset[..., :rank] + ops.eye(rank), offset[..., rank]
        turns = 1 if rank == 2 else 3
        linear = _rotation(parameters[:, :turns])
        if self.kind == "similarity":
            linear = linear * ops.exp(parameters[:, -1])[:, None, None]
        return linear, parameters[:, turns : turns + rank]

    def compute_output_spec(self, parameters: Tensor, like: Tensor = None) -> keras.KerasTensor:
        parameters, like = functional.two(("parameters", "like"), parameters, like)
        return keras.KerasTensor(self.compute_output_shape(parameters.shape, like.shape), dtype="float32")

    def compute_output_shape(
        self, parameters_shape: Sequence[Any], like_shape: Sequence[int | None] | None = None
    ) -> tuple[int | None, ...]:
        parameters_shape, like_shape = functional.two(("parameters", "like"), parameters_shape, like_shape)
        self._check(parameters_shape, like_shape)
        return (*like_shape[:-1], len(like_shape) - 2)

    def _check(self, parameters: Sequence[int | None], like: Sequence[int | None]) -> None:
        rank = len(like) - 2
        if rank not in (2, 3) or len(parameters) != 2 or parameters[-1] != self.count(self.kind, rank):
            expected = self.count(self.kind, rank) if rank in (2, 3) else "some"
            raise ValueError(
                "`parameters` must have shape (batch, count) beside a grid of 2 or 3 axes, with the count of the kind: "
                f"{expected} for {self.kind}. Received: parameters.shape={tuple(parameters)}, like.shape={tuple(like)}"
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}


def _rotation(turns: Tensor) -> Tensor:
    """Matrices ``(batch, rank, rank)`` of angles ``(batch, 1)``, or of vectors ``(batch, 3)`` by Rodrigues' formula."""
    if turns.shape[-1] == 1:
        cosine, sine = ops.cos(turns[:, 0]), ops.sin(turns[:, 0])
        return ops.reshape(ops.stack([cosine, -sine, sine, cosine], axis=-1), (-1, 2, 2))
    squared = ops.sum(ops.square(turns), axis=-1)[:, None, None]
    small = squared < 1e-8  # where sin(a) / a has no gradient; its series is exact there in float32
    angle = ops.sqrt(ops.where(small, 1.0, squared))
    first = ops.where(small, 1.0 - squared / 6.0, ops.sin(angle) / angle)
    second = ops.where(small, 0.5 - squared / 24.0, (1.0 - ops.cos(angle)) / ops.square(angle))
    x, y, z = turns[:, 0], turns[:, 1], turns[:, 2]
    zero = ops.zeros_like(x)
    cross = ops.reshape(ops.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1), (-1, 3, 3))
    return ops.eye(3) + first * cross + second * ops.matmul(cross, cross)
