"""Composition of two displacements as a layer."""

from __future__ import annotations

from typing import Any

import keras

from acreg.layers import functional


@keras.saving.register_keras_serializable("acreg")
class ComposeDisplacements(keras.layers.Layer):
    """Makes one displacement of two: warping by ``first`` and then, the result, by ``second``.

    ``u(p) = second(p) + first(p + second(p))``, so that ``warp(image, u)`` is ``warp(warp(image, first), second)`` with
    a single interpolation of the image.

    Call arguments:
        first, second: ``(batch, *spatial, rank)``, voxels of one common grid.

    Returns:
        ``(batch, *spatial, rank)``, voxels.

    Raises:
        ValueError: when the two are not fields of one shape.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, first: Any, second: Any) -> Any:
        functional.check_field("first", first.shape)
        functional.check_field("second", second.shape)
        if tuple(first.shape[1:]) != tuple(second.shape[1:]):
            raise ValueError(
                "`first` and `second` must live on one grid. "
                f"Received: first.shape={tuple(first.shape)}, second.shape={tuple(second.shape)}"
            )
        return functional.compose(first, second)

    def compute_output_shape(self, first_shape: Any, second_shape: Any) -> tuple[int | None, ...]:
        return tuple(second_shape)
