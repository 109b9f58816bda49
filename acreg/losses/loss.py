"""A loss as an object: its name, the values that it needs, its function, and the arguments of the function."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from acreg.layers.tensor import Tensor

IMAGES = ("fixed", "warped")
"""The values that losses on images need."""
ONE_HOT = ("fixed_one_hot", "warped_one_hot")
"""The values that losses on labels need."""
FIELD = ("field",)
"""The values that losses on the roughness of a field need."""
JACOBIAN = ("displacement",)
"""The value that losses on the Jacobian of the complete displacement need."""
DISPLACEMENTS = ("true_displacement", "displacement")
"""The values that losses on displacements with a known true displacement need."""


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss for training a registration model.

    Args:
        name: under which the loss is weighted and logged.
        needs: names of the values that `function` takes, in this order:

            - ``fixed``, ``moving`` and ``warped``: images ``(batch, *spatial, channels)``;
            - ``fixed_one_hot`` and ``warped_one_hot``: labels as ``(batch, *spatial, classes)``, the moving ones warped
              linearly;
            - ``displacement``, ``velocity``, ``affine`` and every other output of the model, by its name;
            - ``field``, ``(batch, *spatial, rank)`` in voxels: the velocity of a model that integrates one; else the
              displacement, without the affine map;
            - ``true_displacement`` and ``true_velocity``, if the training data has them: validation data may lack them,
              and then the loss is left out;
            - ``fixed_labels``, ``moving_labels`` and other inputs of the model, and ``inputs`` for all of them;
            - other values that a model adds, see its page.
        function: returns one value per sample, ``(batch,)``, or a scalar.
        arguments: further arguments of `function`, by name.

    Raises:
        ValueError: an argument that the function does not have, or one of another type than its default.

    Example:

    >>> wide = acreg.losses.Loss("wide_ncc", ("fixed", "warped"), acreg.losses.local_ncc, {"window": 15})
    >>> model = acreg.models.RegNet(losses={"ncc": 1, wide: 0.5, "diffusion": 0.1})
    """

    name: str
    needs: tuple[str, ...]
    function: Callable[..., Tensor]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known, any_name = _options(self.function, len(self.needs))
        for name, value in self.arguments.items():
            if name not in known and not any_name:
                raise ValueError(
                    f"An argument of the loss {self.name!r} must be one of {list(known) or 'none: it has none'}. "
                    f"Received: {name}={value!r}"
                )
            wanted = _number(known.get(name))
            if wanted and not isinstance(value, wanted):
                kind = "a whole number" if wanted is int else "a number"
                raise ValueError(f"The argument {name!r} of the loss {self.name!r} must be {kind}. Received: {value!r}")

    def __call__(self, *values: Tensor) -> Tensor:
        """The loss for the values in `needs`, in their order."""
        return self.function(*values, **self.arguments)

    @property
    def compares_labels(self) -> bool:
        """Whether the loss needs labels."""
        return any(name.endswith(("_labels", "_one_hot")) for name in self.needs)

    @classmethod
    def of(cls, function: Callable[..., Tensor]) -> Loss:
        """The loss for a function whose parameters without a default are named like the values that it needs.

        Its name is that under which the function is registered with Keras (``"mypackage>edges"``), or that of the
        function.

        Raises:
            ValueError: a class, or a function that needs no values or has no name or signature.
        """
        name = getattr(function, "__name__", None)
        if inspect.isclass(function) or not callable(function) or name in (None, "<lambda>"):
            raise ValueError(
                f"A loss must be a function with a name, or a `Loss`, which gives it one. Received: {function!r}"
            )
        parameters = inspect.signature(function).parameters.values()
        needs = tuple(p.name for p in parameters if p.kind in _POSITIONAL and p.default is p.empty)
        if not needs:
            raise ValueError(
                f"The parameters of a loss that have no default name what it compares, such as fixed and warped. "
                f"Received: {name}, which has no such parameter"
            )
        return cls(keras.saving.get_registered_name(function), needs, function)

    def changed(self, arguments: Mapping[str, Any]) -> Loss:
        """This loss with other values of some arguments; errors as of the class."""
        return replace(self, arguments={**self.arguments, **arguments}) if arguments else self


LossWeights = Mapping[Any, float | Mapping[str, Any]]
"""Losses with their weights. A key is a name, a `Loss`, or a function, see `Loss.of`. A value is the weight, or
``{"weight": ..., **arguments}`` with arguments of the loss's function."""  # keys of mappings are invariant: Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def by_name(needs: tuple[str, ...], *functions: Callable[..., Tensor]) -> dict[str, Loss]:
    """Losses that need the same values, each named after its function."""
    return {f.__name__: Loss(f.__name__, needs, f) for f in functions}


def choose_losses(
    chosen: LossWeights, known: Mapping[str, Loss], owner: str
) -> tuple[dict[str, Loss], dict[str, float]]:
    """Losses and their weights, both by name.

    Args:
        chosen: see `LossWeights`. A name is one of `known`, or the name under which another package registered its
            function with `keras.saving.register_keras_serializable`.
        known: the losses of the model, by name.
        owner: the model, for messages.

    Raises:
        ValueError: an unknown name, two losses with the same name, a weight that is not a number, not finite or
            negative, or arguments that the loss does not take.
    """
    losses: dict[str, Loss] = {}
    weights: dict[str, float] = {}
    for key, value in chosen.items():
        loss = _find(key, known, owner)
        if loss.name in losses or loss is not known.get(loss.name, loss):
            raise ValueError(f"Each loss of {owner} must have a name of its own. Received: {loss.name!r} twice")
        options = dict(value) if isinstance(value, Mapping) else {"weight": value}
        if "weight" not in options:
            raise ValueError(f"A loss with arguments needs its `weight` beside them. Received: {loss.name}={options}")
        weight = options.pop("weight")
        if not (isinstance(weight, (int, float, np.number)) and np.isfinite(weight) and weight >= 0):
            raise ValueError(f"The weight of a loss must be finite and not negative. Received: {loss.name}={weight}")
        losses[loss.name], weights[loss.name] = loss.changed(options), float(weight)
    return losses, weights


def _find(key: str | Loss | Callable[..., Tensor], known: Mapping[str, Loss], owner: str) -> Loss:
    if isinstance(key, Loss):
        return key
    if not isinstance(key, str):
        return next((loss for loss in known.values() if loss.function is key), None) or Loss.of(key)
    if key in known:
        return known[key]
    function = keras.saving.get_registered_object(key)
    if isinstance(function, Loss):
        return function
    if function is None or inspect.isclass(function):
        close = difflib.get_close_matches(key, known, n=1)
        raise ValueError(
            f"A loss of {owner} must be one of {list(known)}, or the registered name of a function, such as "
            f"'mypackage>edges', whose package has been imported. Received: {key!r}"
            + (f". Did you mean {close[0]}?" if close else "")
        )
    return replace(Loss.of(function), name=key)


def _options(function: Callable[..., Tensor], taken: int) -> tuple[dict[str, Any], bool]:
    """The arguments of a function after the first ones, with their defaults; and whether it accepts any name.

    Tensors are no arguments of a loss: they differ from batch to batch.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have no signature
        return {}, True
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    others = [*positional[taken:], *(p for p in parameters if p.kind is p.KEYWORD_ONLY)]
    others = [p for p in others if "Tensor" not in str(p.annotation)]
    return {p.name: p.default for p in others}, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _number(default: Any) -> Any:
    """The type of values that may replace a default that is a number; None for other defaults."""
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        return None
    return int if isinstance(default, int) else (int, float)
