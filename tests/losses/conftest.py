"""Gradients, for the tests of losses."""

from __future__ import annotations

import keras
import pytest


@pytest.fixture(scope="session")
def gradient():
    """``gradient(function, x)`` of the sum of what ``function`` returns; zeros where nothing depends on ``x``."""

    def compute(function, x):
        if keras.backend.backend() != "tensorflow":
            pytest.skip("gradients are tested on TensorFlow")
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(function(x))
        return tape.gradient(y, x, unconnected_gradients="zero").numpy()

    return compute
