"""Estimates of the memory that a network needs, before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from acreg.layers.tensor import Tensor


def peak_bytes(network: keras.Model, shapes: Sequence[tuple[int, ...]]) -> int:
    """The largest number of bytes of tensors that exist at the same time during the forward pass of a functional model.

    A tensor exists from the layer that makes it to the last layer that uses it. Memory that a layer allocates
    internally is not known to Keras and not counted.

    Args:
        network: its layers run in Keras' order; models in it are included.
        shapes: shapes of its inputs including the batch, in the order of `network.inputs`.
    """
    calls: list[tuple[list[Tensor], list[Tensor], int]] = []

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Tensor:
        outputs = layer(*args, **kwargs)
        taken = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
        inner = 0
        if isinstance(layer, keras.Model):
            inner = peak_bytes(layer, [x.shape for x in taken]) - sum(_bytes(x) for x in taken)
        calls.append((taken, keras.tree.flatten(outputs), inner))
        return outputs

    given = [keras.Input(s[1:], s[0], name=x.name) for s, x in zip(shapes, network.inputs, strict=True)]
    keras.models.clone_model(
        network, input_tensors=keras.tree.pack_sequence_as(network.input, given), call_function=call
    )
    last = {id(tensor): index for index, (taken, _, _) in enumerate(calls) for tensor in taken}
    made = {id(tensor): tensor for tensor in given}
    most = live = sum(_bytes(tensor) for tensor in made.values())
    for index, (_, outputs, inner) in enumerate(calls):
        made |= {id(tensor): tensor for tensor in outputs}
        most = max(most, live + inner)  # the tensors inside a model, including its outputs
        live += sum(_bytes(tensor) for tensor in outputs)
        most = max(most, live)
        done = [key for key in made if last.get(key) == index]
        live -= sum(_bytes(made.pop(key)) for key in done)
    return most


def _bytes(tensor: Tensor) -> int:
    return (
        int(np.prod(tensor.shape, dtype=np.int64))
        * np.dtype("float16" if tensor.dtype in ("float16", "bfloat16") else tensor.dtype).itemsize
    )
