"""Random smooth fields, and gradients, for the tests of layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest


@pytest.fixture(scope="session")
def identity():
    """``identity(shape)``: the index of every voxel, ``(*shape, rank)``."""
    return lambda shape: np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(np.float32)


@pytest.fixture(scope="session")
def smooth_field():
    """``smooth_field(shape, amplitude, seed)``: ``(1, *shape, rank)``, largest component ``amplitude`` voxels.

    Random sums of half and whole sine waves along each axis: zero at the border, so that laws hold up to there.
    """

    def make(shape, amplitude, seed=0):
        field = np.random.default_rng(seed).normal(size=(2,) * len(shape) + (len(shape),))
        for n in shape:
            waves = np.sin(np.pi * np.outer([1, 2], np.arange(n)) / (n - 1))
            field = np.tensordot(field, waves, axes=(0, 0))  # the axis of waves goes, that of voxels comes last
        field = np.moveaxis(field, 0, -1)
        return (amplitude * field / np.abs(field).max()).astype(np.float32)[None]

    return make


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
