"""Functions that XLA compiles where the model around them is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """On TensorFlow, the function of tensors compiled by XLA; elsewhere the function itself.

    On a CPU, XLA makes gathers and what goes with them several times faster and convolutions slower, so that Keras
    leaves it off: these functions are compiled alone. Inside of a model that is compiled as a whole they are a part of
    it. JAX compiles whole steps in any case.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)
