"""Gradient checkpointing: activations inside the levels of a network are recomputed for the gradient, not kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import keras
from keras import ops

from acreg.layers.tensor import Tensor


class _Call(NamedTuple):
    """A layer's place in the graph of a network: its inputs and outputs, and the level with which it is recomputed."""

    taken: list[keras.KerasTensor]
    made: list[keras.KerasTensor]
    level: str


class _Segment(NamedTuple):
    """Calls that run together, as a model from their external inputs to the outputs that other calls use."""

    model: keras.Model
    taken: list[int]
    made: list[int]
    again: bool


class Recomputation:
    """Runs networks in training with unchanged results, but keeps only the inputs and outputs of their levels.

    A level consists of the layers with the same name and number, such as ``encoder2``, or is one call of a model inside
    the network. `keras.RematScope` does this for one layer at a time, which keeps all tensors between layers; around a
    model, it fails on TensorFlow in a graph, and on JAX with batch normalisation. Layers with random numbers are
    excluded, because they would draw different numbers the second time.

    Args:
        parts: the names before the number, see `RegistrationModel.parts`.

    Call arguments:
        network: a functional model with named inputs that was prepared.
        inputs: by name, as for the network.

    Returns:
        The result of the network in training; its batch normalisation sees the batch once.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = tuple(parts)
        self._known: dict[int, tuple[keras.Model, list[_Segment]]] = {}

    def prepare(self, network: keras.Model) -> None:
        """Divides a network into segments that are recomputed and segments that are not, if there are parts."""
        if self.parts:
            self._known[id(network)] = self._segments(network)

    def __call__(self, network: keras.Model, inputs: Mapping[str, Tensor]) -> Tensor:
        twin, segments = self._known[id(network)]
        values = {id(x): inputs[name] for name, x in twin.input.items()}
        for segment in segments:
            given = [values[key] for key in segment.taken]
            found = _run_again(segment.model, given) if segment.again else _run(segment.model, given)
            values |= zip(segment.made, found, strict=True)
        return keras.tree.pack_sequence_as(twin.output, [values[id(x)] for x in keras.tree.flatten(twin.output)])

    def _segments(self, network: keras.Model) -> tuple[keras.Model, list[_Segment]]:
        """A copy of the network's graph with the same layers, divided into segments in order."""
        calls: list[_Call] = []

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            outputs = layer(*args, **kwargs)
            taken = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
            calls.append(_Call(taken, keras.tree.flatten(outputs), self._level(layer, len(calls))))
            return outputs

        twin = keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
        segments = []
        groups = [(level, list(group)) for level, group in groupby(calls, lambda call: call.level)]
        for level, group in groups:
            inside = {id(x) for call in group for x in call.made}
            asked = {id(x) for call in calls if call not in group for x in call.taken}
            asked |= {id(x) for x in keras.tree.flatten(twin.output)}
            taken = {id(x): x for call in group for x in call.taken if id(x) not in inside}
            made = {id(x): x for call in group for x in call.made if id(x) in asked}
            model = keras.Model(list(taken.values()), list(made.values()))
            segments.append(_Segment(model, list(taken), list(made), bool(level)))
        return twin, segments

    def _level(self, layer: keras.layers.Layer, number: int) -> str:
        """The level of a layer that is recomputed; empty for other layers."""
        found = re.match(r"([a-z]+)\d*", layer.name)
        draws = any("float" not in variable.dtype for variable in layer.variables)
        if not found or found[1] not in self.parts or draws:
            return ""
        return f"{layer.name}, call {number}" if isinstance(layer, keras.Model) else found[0]


def _run(model: keras.Model, given: list[Tensor]) -> list[Tensor]:
    return keras.tree.flatten(model(given, training=True))


def _run_again(model: keras.Model, given: list[Tensor]) -> list[Tensor]:
    """Like `_run`, but computed a second time for the gradient."""
    variables, states = model.variables, model.non_trainable_variables

    def pure(*tensors: Tensor) -> tuple[Tensor, ...]:
        # A pure function: variables that are assigned inside would be assigned twice, and leak tracers on JAX.
        held = zip(variables, tensors[len(given) :], strict=True)
        with keras.StatelessScope(state_mapping=list(held)) as scope:
            found = _run(model, list(tensors[: len(given)]))
        return (*found, *(scope.get_current_value(variable) for variable in states))

    found = list(keras.remat(pure)(*given, *(ops.convert_to_tensor(variable) for variable in variables)))
    for variable, value in zip(states, found[len(found) - len(states) :], strict=True):
        variable.assign(value)
    return found[: len(found) - len(states)]
