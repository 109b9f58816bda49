"""Values and gradients of functions of one tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from acreg.layers.compiled import not_compiled
from acreg.layers.tensor import Tensor


def value_and_gradient(function: Callable[..., Tensor], any_size: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """A function that returns the value of ``function(x, *others)`` and its gradient with respect to ``x``.

    Call one such function for many pairs. On TensorFlow it becomes a graph, whose expensive operations XLA compiles
    (`acreg.layers.compiled`): that takes seconds for each size of images. A graph for any size is not compiled
    and needs twice the time for each step on a CPU. On JAX, the whole is compiled for each size.

    Args:
        function: returns a scalar. ``x`` and ``others`` are tensors ``(batch, *spatial, channels)`` of any sizes in
            between, tensors with less than three axes, None, or nested lists and dictionaries of them.
        any_size: on TensorFlow, make one graph for all sizes.

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

        graphs = tf.function(run, autograph=False)
        if not any_size:
            return graphs

        def of_any_size(x: Tensor | None) -> tf.TensorSpec | None:
            if x is None:
                return None
            sizes = x.shape if len(x.shape) < 3 else (x.shape[0], *(None,) * (len(x.shape) - 2), x.shape[-1])
            return tf.TensorSpec(sizes, x.dtype)

        def call(*arguments: Any) -> tuple[Tensor, Tensor]:
            with not_compiled():
                graphs.get_concrete_function(*tf.nest.map_structure(of_any_size, arguments))
                return graphs(*arguments)

        return call
    if backend == "jax":
        import jax

        return jax.jit(jax.value_and_grad(function))
    raise NotImplementedError(f"The optimisation runs on TensorFlow and JAX. Received: the Keras backend {backend}.")
