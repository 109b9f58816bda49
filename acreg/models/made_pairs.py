"""Training pairs that are made from single images."""

from __future__ import annotations

from collections.abc import Mapping

from keras import ops

from acreg.layers import ThinPlateSplineAugmentation
from acreg.layers.tensor import Tensor

PAIR = ("moving", "fixed", "moving_labels", "fixed_labels")


def make_pairs(augmentation: ThinPlateSplineAugmentation | None, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pairs made from the single images among a model's inputs, together with the pairs that the inputs contain.

    Raises:
        ValueError: there is no augmentation, or the given pairs have other parts than the pairs that are made.
    """
    if augmentation is None:
        raise ValueError(
            "Pairs of single images are made by the `augmentation` of a model. Received: 'image' among the inputs "
            "of a model without one"
        )
    made = augmentation(
        {name: inputs[name] for name in ("image", "labels", "spacing") if name in inputs}, training=True
    )
    given = {name: inputs[name] for name in PAIR if name in inputs}
    if given and set(given) != set(made) & set(PAIR):
        raise ValueError(
            "Pairs beside single images have the same parts as theirs, labels or none. "
            f"Received: {sorted(given)} beside {sorted(set(made) & set(PAIR))}"
        )
    return {
        name: ops.concatenate([value, ops.cast(given[name], value.dtype)]) if given else value
        for name, value in made.items()
        if name in PAIR
    }
