"""The parts of a network, such as its encoder, which are identified by the names of its layers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import keras


def parts_of(network: keras.Model) -> dict[str, list[keras.layers.Layer]]:
    """The layers with weights, grouped by part: the text before the number in a layer's name."""
    found: dict[str, list[keras.layers.Layer]] = {}
    for part, layer in layers_by_part(network):
        found.setdefault(part, []).append(layer)
    return found


def freeze_parts(network: keras.Model, parts: tuple[str, ...]) -> None:
    """Freeze the weights of some parts, and train all others.

    Raises:
        ValueError: the network lacks one of the parts, or all of its parts would be frozen.
    """
    known = parts_of(network)
    if unknown := [part for part in parts if part not in known]:
        raise ValueError(f"A part to freeze must be one of {list(known)}. Received: {unknown}")
    if not set(known) - set(parts):
        raise ValueError(f"A part must be left to train. Received: all of {list(known)} to freeze")
    for part, layers in known.items():
        for layer in layers:
            layer.trainable = part not in parts


def layers_by_part(network: keras.Model, part: str | None = None) -> Iterator[tuple[str, keras.layers.Layer]]:
    """(part, layer) for each layer with weights; the part is the text before the number in the name of the layer."""
    for layer in network.layers:
        found = re.match(r"[a-z]+", layer.name)
        name = part or (found[0] if found else layer.name)
        if isinstance(layer, keras.Model):
            yield from layers_by_part(layer, name)
        elif layer.weights:
            yield name, layer
