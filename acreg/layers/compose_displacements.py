"""Composition of two displacements as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from acreg.layers import functional
from acreg.layers.tensor import Tensor


@keras.saving.register_keras_serializable("acreg")
class ComposeDisplacements(keras.layers.Layer):
    """Composes two displacements: the result warps by ``first`` and then by ``second``.

    ``u(p) = second(p) + first(p + second(p))``, so that ``warp(image, u)`` is ``warp(warp(image, first), second)`` with
    a single interpolation of the image.

    Call arguments:
        first, second: ``(batch, *spatial, rank)``, voxels of one common grid.

    Returns:
        ``(batch, *spatial, rank)``, voxels, float32.

    Raises:
        ValueError: when the two are not fields of one shape.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, first: Tensor, second: Tensor = None) -> Tensor:
        first, second = functional.two(("first", "second"), first, second)
        self._check(first.shape, second.shape)
        return functional.compose(first, second)

    def compute_output_spec(self, first: Tensor, second: Tensor = None) -> keras.KerasTensor:
        first, second = functional.two(("first", "second"), first, second)
        return keras.KerasTensor(self.compute_output_shape(first.shape, second.shape), dtype="float32")

    def compute_output_shape(
        self, first_shape: Sequence[Any], second_shape: Sequence[int | None] | None = None
    ) -> tuple[int | None, ...]:
        first_shape, second_shape = functional.two(("first", "second"), first_shape, second_shape)
        self._check(first_shape, second_shape)
        return tuple(second_shape)

    def _check(self, first: Tensor, second: Tensor) -> None:
        functional.check_field("first", first)
        functional.check_field("second", second)
        if not functional.sizes_agree(first, second):
            raise ValueError(
                "`first` and `second` must live on one grid. "
                f"Received: first.shape={tuple(first)}, second.shape={tuple(second)}"
            )
