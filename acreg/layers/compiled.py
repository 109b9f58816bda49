"""Functions that XLA compiles even if the model around them is not compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import keras

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
