"""With random weights in a file, which is all that can be had without a network connection."""

import h5py
import keras
import numpy as np
import pytest
from scipy import ndimage

from acreg.errors import AcregError
from acreg.layers import functional
from acreg.losses.perceptual import CACHED, PerceptualLoss


@pytest.fixture(scope="module")
def vgg():
    keras.utils.set_random_seed(0)
    return keras.applications.VGG16(weights=None, include_top=False)


@pytest.fixture(scope="module")
def weights(vgg, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16.weights.h5"
    vgg.save_weights(path)
    return path


@pytest.fixture(scope="module")
def loss(weights):
    return PerceptualLoss(weights)


def smooth(seed=0, batch=2, channels=1):
    noise = np.random.default_rng(seed).normal(size=(2, batch, 32, 40, channels))
    noise = ndimage.gaussian_filter(noise, (0, 0, 2, 2, 0))
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_numpy_on_the_maps_of_keras_own_network(channels, loss, vgg):
    layers = [layer for layer in vgg.layers if "conv" in layer.name]
    assert len(layers) == 13 and sum(layer.filters for layer in layers) == 4224
    network = keras.Model(vgg.input, [layer.output for layer in layers])
    pair = smooth(channels=channels)
    blue_first = [255 * np.broadcast_to(x, (2, 32, 40, 3))[..., ::-1] - [103.939, 116.779, 123.68] for x in pair]
    expected = 0.0
    for maps in zip(*(network(x.astype(np.float32)) for x in blue_first), strict=True):
        scaled = []
        for values in map(np.asarray, maps):
            lowest, highest = values.min(axis=(1, 2), keepdims=True), values.max(axis=(1, 2), keepdims=True)
            scaled.append((values - lowest) / np.maximum(highest - lowest, 1e-3))
        expected = expected + np.mean((scaled[0] - scaled[1]) ** 2, axis=(1, 2, 3)) / 13
    assert (expected > 0.001).all()
    np.testing.assert_allclose(loss(*pair), expected, rtol=1e-3)
    assert not np.any(loss(pair[0], pair[0]))


def test_its_gradient_reaches_the_displacement_and_lowers_it(loss, gradient):
    fixed, moving = smooth()
    u = np.random.default_rng(1).uniform(0.1, 0.9, (2, 32, 40, 2)).astype(np.float32)
    slope = gradient(lambda u: loss(fixed, functional.warp(moving, u)), u)
    assert np.isfinite(slope).all()
    step = 0.01 * slope / np.abs(slope).max(axis=(1, 2, 3), keepdims=True)
    before, after = (np.asarray(loss(fixed, functional.warp(moving, x))) for x in (u, u - step))
    assert (after < before).all() and not loss.network.trainable_weights


def test_constant_images_have_finite_gradients(loss, gradient):
    image = smooth(batch=1)[0]
    constant = np.zeros_like(image)
    for fixed, warped in ((image, constant), (constant, image), (constant, constant)):
        assert np.isfinite(gradient(lambda w, f=fixed: loss(f, w), warped)).all()


def test_is_read_from_keras_cache_in_its_old_format_and_computed_in_float32(loss, vgg, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    with h5py.File(tmp_path / "models" / CACHED, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in vgg.layers]
        for layer in vgg.layers:
            names = [f"{layer.name}_{part}_1:0" for part in "Wb"] if layer.weights else []
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group[name] = variable.numpy()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        found = PerceptualLoss()(*smooth())
    finally:
        keras.config.set_dtype_policy(policy)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(found, loss(*smooth()), rtol=1e-5)


def test_weights_that_are_not_there_are_not_made_up(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(AcregError, match=f"needs the weights of VGG16. Received: .*{CACHED}, which is no file. Give"):
        PerceptualLoss()


def plain_network(widths):
    layers = [keras.layers.Conv2D(width, 1) for width in widths]
    return keras.Sequential([keras.layers.Input((8, 8, 3)), *layers])


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize(
    ("widths", "reason"), [((4,), "2 arrays instead of 26"), ((2,) * 13, "shape"), (None, "signature")]
)
def test_another_file_is_refused(widths, reason, tmp_path):
    path = tmp_path / "other.weights.h5"
    if widths is None:
        path.write_text("no weights")
    else:
        plain_network(widths).save_weights(path)
    with pytest.raises(AcregError, match=rf"13 convolutions and no others. Received: .*{reason}.*downloads nothing."):
        PerceptualLoss(path)


@pytest.mark.parametrize("shape", [(1, 32, 32, 2), (1, 32, 32, 32, 1), (1, 31, 64, 1)])
def test_images_that_the_network_cannot_see_are_refused(shape, loss):
    with pytest.raises(AcregError, match=r"1 or 3\) of at least 32 voxels a side. Received: shape"):
        loss(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
