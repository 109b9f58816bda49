"""Values and gradients of functions of one tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from acreg.layers.tensor import Tensor

ValueAndGradient = Callable[[Tensor], tuple[Tensor, Any, Tensor]]


def value_and_gradient(function: Callable[[Tensor], tuple[Tensor, Any]]) -> ValueAndGradient:
    """A function of ``x`` that returns the value, what else the given function returns, and the gradient by ``x``.

    On TensorFlow it runs operation by operation: the expensive ones are compiled by themselves, and a graph with
    custom gradients would be kept until the process ends. On JAX it is compiled as a whole.

    Args:
        function: of one tensor; returns a scalar and anything else that is made of tensors.

    Raises:
        NotImplementedError: the backend of Keras is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def run(x: Tensor) -> tuple[Tensor, Any, Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                value, others = function(x)
            return value, others, tape.gradient(value, x)

        return run
    if backend == "jax":
        import jax

        compiled = jax.jit(jax.value_and_grad(function, has_aux=True))

        def run_compiled(x: Tensor) -> tuple[Tensor, Any, Tensor]:
            (value, others), gradient = compiled(x)
            return value, others, gradient

        return run_compiled
    raise NotImplementedError(f"The optimisation runs on TensorFlow and JAX. Received: the Keras backend {backend}.")
