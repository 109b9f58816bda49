"""Values and gradients of functions of one tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from acreg.layers.tensor import Tensor


def value_and_gradient(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """A function that returns the value of ``function(x, *others)`` and its gradient with respect to ``x``.

    It is made into a graph for each combination of shapes: call one such function for many pairs, not a new one for
    each. On TensorFlow the expensive operations are compiled by themselves (`acreg.layers.compiled`); XLA takes longer
    to compile the whole, and the result is slower on a CPU. On JAX it is compiled as a whole.

    Args:
        function: returns a scalar. ``others`` are tensors, None, or nested lists and dictionaries of them.

    Raises:
        NotImplementedError: the backend of Keras is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def run(x: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x, *others)
            return value, tape.gradient(value, x)

        return tf.function(run, autograph=False)
    if backend == "jax":
        import jax

        return jax.jit(jax.value_and_grad(function))
    raise NotImplementedError(f"The optimisation runs on TensorFlow and JAX. Received: the Keras backend {backend}.")
