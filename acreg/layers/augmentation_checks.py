"""Checks of `ThinPlateSplineAugmentation`: input that it refuses with a `ValueError`, and its warnings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from acreg.layers import functional
from acreg.layers.tensor import Tensor
from acreg.layers.thin_plate_spline import known_values


def named(inputs: Any) -> Mapping[str, Any]:
    """The inputs of the layer, or their shapes, by name; an image alone is one."""
    return inputs if isinstance(inputs, Mapping) else {"image": inputs}


def is_one_hot(labels: Any) -> bool:
    """Whether labels are one-hot: floats, a channel for each class."""
    return "int" not in keras.backend.standardize_dtype(labels.dtype)


def check_inputs(inputs: Mapping[str, Any], spacing: float | tuple[float, ...]) -> None:
    """Refuse inputs whose kind, type or shape the layer does not accept; `spacing` is the layer's own."""
    if wrong := {name: type(value).__name__ for name, value in inputs.items() if not hasattr(value, "shape")}:
        raise ValueError(
            "`inputs` must be an image, or a dictionary with 'image' and, if wanted, 'labels' and 'spacing', arrays or "
            f"tensors. Received: {wrong}"
        )
    check_shapes({name: value.shape for name, value in inputs.items()}, spacing)
    if "labels" in inputs and (inputs["labels"].shape[-1] == 1) == is_one_hot(inputs["labels"]):
        labels = inputs["labels"]
        raise ValueError(
            "`labels` must be integers (batch, *spatial, 1), or one-hot floats (batch, *spatial, classes). Received: "
            f"labels.dtype={labels.dtype}, labels.shape={tuple(labels.shape)}"
        )


def check_shapes(shapes: Mapping[str, Sequence[int | None]], spacing: float | tuple[float, ...]) -> None:
    """Refuse shapes of inputs that do not fit each other or the layer's own `spacing`."""
    if "image" not in shapes or not set(shapes) <= {"image", "labels", "spacing"}:
        raise ValueError(
            f"`inputs` must have 'image' and may have 'labels' and 'spacing', nothing else. Received: {sorted(shapes)}"
        )
    image = tuple(shapes["image"])
    rank = len(image) - 2
    if rank not in (2, 3) or (isinstance(spacing, tuple) and rank != len(spacing)):
        raise ValueError(
            "`image` must have shape (batch, *spatial, channels) with 2 or 3 spatial axes; several numbers "
            f"in the layer's `spacing` must be one for each. Received: image.shape={image}, spacing={spacing}"
        )
    for name, expected in {"labels": (*image[:-1], None), "spacing": (image[0], rank)}.items():
        if name in shapes and not functional.sizes_agree(shapes[name], expected):
            raise ValueError(
                f"`{name}` must have shape {expected} beside an image of shape {image}. "
                f"Received: {name}.shape={tuple(shapes[name])}"
            )


def check_cells(sizes: Sequence[int | None], control_points: int) -> None:
    """Refuse images with fewer voxels along an axis than control points."""
    if any(n is not None and n < control_points for n in sizes):
        raise ValueError(
            "`image` must have at least as many voxels along each axis as there are control points, since no cell "
            f"between these is smaller than a voxel. Received: sizes {tuple(sizes)} for control_points="
            f"{control_points}. Give larger images, or fewer `control_points`."
        )


def warn_of_folds(sizes: Sequence[int | None], spacing: Tensor, control_points: int, max_deformation: float) -> None:
    """Warn, if the spacing is known, that control points are so close that the deformation may fold the image."""
    sides = known_values(spacing)
    if sides is None or None in sizes:
        return
    cell = (sides * np.array(sizes)).min() / (control_points - 1)
    if max_deformation > cell / 2:
        warnings.warn(
            f"Control points are {cell:.3g} mm apart, and vectors of max_deformation={max_deformation} mm, "
            "more than half of that, may fold the image. Choose a smaller `max_deformation` or fewer "
            "`control_points`, or give the true `spacing`.",
            stacklevel=3,
        )


def check_parameters(parameters: Mapping[str, Tensor], batch: int | None, rank: int) -> None:
    """Refuse parameters whose names or shapes differ from those that `ThinPlateSplineAugmentation.draw` returns."""
    tails = {
        "angles": (3 if rank == 3 else 1,),
        "translation": (rank,),
        "control_displacements": (None,) * rank + (rank,),
        "gamma": (2,),
        "brightness": (2,),
    }
    for name, value in parameters.items():
        if name not in tails:
            raise ValueError(f"`parameters` must be among {sorted(tails)}. Received: {name!r}")
        if not functional.sizes_agree(value.shape, (batch, *tails[name])):
            raise ValueError(
                f"`{name}` must have shape {(batch, *tails[name])} for this image. Received: shape={tuple(value.shape)}"
            )
