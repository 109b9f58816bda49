"""Functions that XLA compiles even if the model around them is not compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of tensors, compiled by XLA on TensorFlow and unchanged on other backends.

    On a CPU, XLA makes gathers and related operations several times faster but convolutions slower, so that Keras
    does not use it: these functions are compiled separately. In a model that is compiled as a whole, they are compiled
    with it. JAX compiles whole steps in any case.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)
