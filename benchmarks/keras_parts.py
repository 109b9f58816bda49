"""Functions that the Keras contenders share: compilation with Keras' backend, and gradients.

Keras offers neither for arbitrary functions. TensorFlow or JAX is imported only if it is the backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def compiled(function: Callable[..., Any], *arguments: Any, xla: bool = True) -> Callable[[], Any]:
    """A function with given arguments, traced once; without XLA only if TensorFlow is the backend."""
    given = [ops.convert_to_tensor(x) for x in arguments]
    if keras.backend.backend() == "jax":
        import jax

        traced = jax.jit(function)
    else:
        import tensorflow as tf

        traced = tf.function(function, jit_compile=xla)
    return lambda: traced(*given)


def with_gradient(function: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """A scalar function of some tensors that also returns its gradient with respect to the last one."""

    def both(*tensors: Any) -> tuple[Any, Any]:
        if keras.backend.backend() == "jax":
            import jax

            return jax.value_and_grad(function, argnums=len(tensors) - 1)(*tensors)
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors[-1])
            value = function(*tensors)
        return value, tape.gradient(value, tensors[-1])

    return both
