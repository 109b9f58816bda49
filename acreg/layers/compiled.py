"""What differs by backend: functions that XLA compiles even if the model around them is not, and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import keras

from acreg.layers.tensor import Tensor

_compile: ContextVar[bool] = ContextVar("compile", default=True)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of tensors, compiled by XLA on TensorFlow and unchanged on other backends.

    On a CPU, XLA makes gathers and related operations several times faster but convolutions slower, so that Keras
    does not use it: these functions are compiled separately. In a model that is compiled as a whole, they are compiled
    with it. JAX compiles whole steps in any case.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    by_xla = tf.function(function, jit_compile=True, autograph=False)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return (by_xla if _compile.get() else function)(*arguments)

    return call


@contextmanager
def not_compiled() -> Iterator[None]:
    """In the block, `compiled` functions run as they are.

    For graphs of images whose sizes are not known: XLA would compile each function for every size.
    """
    token = _compile.set(False)
    try:
        yield
    finally:
        _compile.reset(token)


def value_and_gradient(function: Callable[..., Tensor], any_size: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """A function that returns the value of ``function(x, *others)`` and its gradient with respect to ``x``.

    Call one such function for many pairs. On TensorFlow it becomes a graph, whose expensive operations XLA compiles
    (see `compiled`): that takes seconds for each size of images. A graph for any size is not compiled
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
