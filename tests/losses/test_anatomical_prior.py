import keras
import numpy as np
import pytest

from acreg.layers import functional
from acreg.losses import AnatomicalPrior
from acreg.models import LabelAutoencoder

CLASSES = 3


def masks(shape, batch=2, shift=0):
    """One-hot discs of two labels."""
    grid = np.stack(np.indices(shape), -1)
    labels = np.zeros((batch, *shape), int)
    for b in range(batch):
        for label in range(1, CLASSES):
            labels[b][np.sum((grid - 2 - 4 * label - b - shift) ** 2, -1) < 9] = label
    return np.eye(CLASSES, dtype=np.float32)[labels]


@pytest.fixture(params=[(16, 16), (16, 16, 8)], ids=["2d", "3d"])
def autoencoder(request):
    keras.utils.set_random_seed(0)
    model = LabelAutoencoder(request.param, CLASSES, code_size=4)
    rng = np.random.default_rng(0)
    for weight in model.encoder.weights:  # batch norms that do something, and do not silence a ReLU
        if weight.path.endswith(("moving_variance", "gamma", "beta")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def test_is_the_squared_distance_of_codes(autoencoder):
    fixed, warped = masks(autoencoder.shape), masks(autoencoder.shape, shift=1)
    prior = AnatomicalPrior(autoencoder)
    codes = [np.asarray(autoencoder.encoder(x, training=False)) for x in (fixed, warped)]
    np.testing.assert_allclose(prior(fixed, warped), np.sum((codes[0] - codes[1]) ** 2, axis=-1), rtol=1e-4)
    assert np.min(prior(fixed, warped)) > 0
    assert not np.any(prior(fixed, fixed))


def test_integer_labels_are_as_good_as_one_hot(autoencoder):
    fixed, warped = masks(autoencoder.shape), masks(autoencoder.shape, shift=1)
    prior = AnatomicalPrior(autoencoder)
    labels = fixed.argmax(-1)[..., None].astype(np.int32)
    np.testing.assert_array_equal(prior(labels, warped), prior(fixed, warped))


def test_the_autoencoder_is_frozen_and_in_inference_mode(autoencoder, gradient):
    assert autoencoder.trainable_weights
    prior = AnatomicalPrior(autoencoder)
    assert not autoencoder.trainable_weights
    before = [w.numpy() for w in autoencoder.weights]
    fixed, warped = masks(autoencoder.shape), masks(autoencoder.shape, shift=1)
    assert np.abs(gradient(lambda w: prior(fixed, w), warped)).max() > 0
    for old, new in zip(before, autoencoder.weights):
        np.testing.assert_array_equal(new.numpy(), old)
    # A sample's value does not depend on what else is in the batch.
    np.testing.assert_allclose(prior(fixed, warped)[:1], prior(fixed[:1], warped[:1]), rtol=1e-4)


def test_its_gradient_reaches_the_displacement_and_lowers_it(autoencoder, gradient):
    prior = AnatomicalPrior(autoencoder)
    fixed, moving = masks(autoencoder.shape), masks(autoencoder.shape, shift=1)
    u = np.full((*fixed.shape[:-1], len(autoencoder.shape)), 0.3, np.float32)

    def loss(u):
        return prior(fixed, functional.warp(moving, u))

    slope = gradient(loss, u)
    assert np.isfinite(slope).all()
    step = 0.02 * slope / np.abs(slope).max()
    assert (np.asarray(loss(u - step)) < np.asarray(loss(u))).all()
