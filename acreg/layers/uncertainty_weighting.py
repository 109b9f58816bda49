"""A layer with the weights of several losses, which are learned together with the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.layers.tensor import Tensor

MODES = ("uncertainty", "softmax")
LARGEST_GAIN = 100.0


@keras.saving.register_keras_serializable("acreg")
class UncertaintyWeighting(keras.layers.Layer):
    """Adds loss terms with trained weights.

    ``mode="uncertainty"``: ``sum_i exp(-s_i) L_i + s_i``, with one trained ``s_i`` per term. Its minimum over ``s_i``
    is ``1 + log(L_i)``: each term counts by its relative, not its absolute decrease, so that the scales of the losses
    do not matter, and no weight can vanish without cost. Terms must be positive. As a term approaches 0, its weight ``1
    / L_i`` grows without bound, and the total has no lower bound; therefore ``s_i`` is never less than its initial
    value minus ``log(100)``: no weight exceeds 100 times its prior. This also bounds the weight of the roughness of a
    field, which is 0 for the identity.

    ``mode="softmax"``: ``sum_i w_i L_i + sum_j r_j R_j`` with ``w = softmax(v)`` for the losses and ``r = softmax(u)``
    for ``regularisers``, all trained: the weights of the losses sum to 1, and so do those of the regularisers, as
    equation 1 of the DDMR paper has it; the softmax is its public program's. It is kept for comparison. A single
    regulariser would keep the weight 1; as in that program, which starts at 5e-3, it has ``exp(u)`` instead. Nothing
    keeps a weight from vanishing: the gradient moves the weights to the smallest loss, and that of a single regulariser
    can only decrease, whatever the network does.

    With Adam, the logarithm of a weight changes by the learning rate per step: a factor of e takes 1000 steps of 1e-3.

    Args:
        priors: the initial weight of each term, by name, above 0; a softmax starts with their shares of the sum.
        regularisers: the names that are no losses of images or labels, and have a softmax of their own.
        mode: see above.

    Call arguments:
        terms: a dict with a loss for each name in ``priors``, all of one shape, or a tensor ``(..., terms)`` in the
            same order.

    Returns:
        The total, float32, of the shape of one term.

    Raises:
        ValueError: an unknown mode, a prior that is not finite or not above 0, regularisers that have no prior or leave
            no other loss, or terms that do not match ``priors``.

    Example:

    >>> weighting = acreg.layers.UncertaintyWeighting({"ncc": 1.0, "diffusion": 5e-3}, regularisers=["diffusion"])
    >>> total = weighting({"ncc": ops.mean(ncc(fixed, warped)), "diffusion": ops.mean(diffusion(displacement))})

    Reference: Kendall et al., Multi-task learning using uncertainty to weigh losses, CVPR 2018, section 3;
    Pérez de Frutos et al., Learning deep abdominal CT registration through adaptive loss weighting, PLOS ONE 2023.
    """

    def __init__(
        self,
        priors: Mapping[str, float],
        regularisers: Sequence[str] = (),
        mode: str = "uncertainty",
        **kwargs: Any,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {MODES}. Received: mode={mode!r}")
        unknown = sorted(set(regularisers) - set(priors))
        if unknown or not set(priors) - set(regularisers):
            raise ValueError(
                "`regularisers` must be some of the names in `priors`, but not all. "
                f"Received: regularisers={list(regularisers)}, priors={dict(priors)}"
            )
        for name, prior in priors.items():
            if not (np.isfinite(prior) and prior > 0):
                raise ValueError(f"A prior weight must be finite and above 0. Received: {name}={prior}")
        # In half precision a step of the learning rate would be lost.
        super().__init__(autocast=False, **kwargs)
        self.priors = {name: float(prior) for name, prior in priors.items()}
        self.regularisers = list(regularisers)
        self.mode = mode
        self._starts: list[np.ndarray] = []

    def build(self, terms_shape: Sequence[int | None] | None = None) -> None:
        if self.mode == "uncertainty":
            start = -self._logarithms(list(self.priors))
            floor = start - np.float32(np.log(LARGEST_GAIN))
            self.log_variance = self._add("log_variance", start, lambda s: ops.maximum(s, floor))
        else:
            self.logits = self._add("logits", self._logarithms(self._shared()))
            if self.regularisers:
                self.log_regularisers = self._add("log_regularisers", self._logarithms(self.regularisers))
        self.built = True

    def _logarithms(self, names: Sequence[str]) -> np.ndarray:
        return np.log([self.priors[name] for name in names]).astype("float32")

    def _add(
        self, name: str, start: np.ndarray, constraint: Callable[[Tensor], Tensor] | None = None
    ) -> keras.Variable:
        self._starts.append(start)
        return self.add_weight(
            shape=start.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(start),
            dtype="float32",
            autocast=False,
            constraint=constraint,
            name=name,
        )

    def _shared(self) -> list[str]:
        return [name for name in self.priors if name not in self.regularisers]

    def loss_weights(self) -> dict[str, Tensor]:
        """The weight of each term by name, in the order of ``priors``; float32 scalars."""
        if not self.built:
            self.build()
        if self.mode == "uncertainty":
            return _by_name(self.priors, ops.exp(-self.log_variance))
        weights = _by_name(self._shared(), ops.softmax(self.logits))
        if self.regularisers:
            several = len(self.regularisers) > 1
            weights |= _by_name(self.regularisers, (ops.softmax if several else ops.exp)(self.log_regularisers))
        return {name: weights[name] for name in self.priors}

    def call(self, terms: Tensor) -> Tensor:
        self._check(terms)
        if not isinstance(terms, Mapping):
            terms = {name: terms[..., i] for i, name in enumerate(self.priors)}
        total = sum(weight * ops.cast(terms[name], "float32") for name, weight in self.loss_weights().items())
        return total + ops.sum(self.log_variance) if self.mode == "uncertainty" else total

    def compute_output_spec(self, terms: Tensor) -> keras.KerasTensor:
        self._check(terms)
        shapes = {name: x.shape for name, x in terms.items()} if isinstance(terms, Mapping) else terms.shape
        return keras.KerasTensor(self.compute_output_shape(shapes), dtype="float32")

    def compute_output_shape(
        self, terms_shape: Sequence[int | None] | Mapping[str, Sequence[int | None]]
    ) -> tuple[int | None, ...]:
        if isinstance(terms_shape, Mapping):
            return tuple(next(iter(terms_shape.values())))
        return tuple(terms_shape)[:-1]

    def _check(self, terms: Tensor) -> None:
        if isinstance(terms, Mapping):
            right, received = set(terms) == set(self.priors), f"the terms {sorted(terms)}"
        else:
            right = len(terms.shape) > 0 and terms.shape[-1] == len(self.priors)
            received = f"a tensor of shape {tuple(terms.shape)}"
        if not right:
            raise ValueError(
                f"`terms` must hold one value for each of {list(self.priors)}, by name or on the last axis. "
                f"Received: {received}"
            )

    def load_own_variables(self, store: Any) -> None:
        """Loads the weights; with a file that has none, from a model with fixed weights, the priors are used."""
        if store.keys():
            super().load_own_variables(store)
            return
        for variable, start in zip(self.variables, self._starts, strict=True):
            variable.assign(start)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "priors": dict(self.priors),
            "regularisers": list(self.regularisers),
            "mode": self.mode,
        }


def _by_name(names: Iterable[str], values: Tensor) -> dict[str, Tensor]:
    return {name: values[i] for i, name in enumerate(names)}
