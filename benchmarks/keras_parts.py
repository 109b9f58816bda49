"""What the contenders on Keras share: functions compiled as Keras' backend compiles them, and their gradients.

Keras has neither for a function of its own. TensorFlow and JAX are imported when they are the backend, and not else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def compiled(function: Callable[..., Any], *arguments: Any, xla: bool = True) -> Callable[[], Any]:
    """The function of these arguments, traced once; without XLA only where TensorFlow is the backend."""
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
