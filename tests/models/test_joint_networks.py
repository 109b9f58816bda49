"""JRS-Net's networks: the mask from activations, its threshold, the generator and the discriminator."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage
from skimage.filters import threshold_otsu

from acreg.models.joint_networks import BINS, NormalisedSum, discriminator, joint_generator, otsu_threshold


def two_modes(seed: int, shape: tuple[int, ...], share: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bright = rng.random(shape) < share
    return np.clip(np.where(bright, rng.normal(0.75, 0.08, shape), rng.normal(0.25, 0.06, shape)), 0, 1)


def test_otsu_is_that_of_scikit_image() -> None:
    images = np.stack([two_modes(seed, (48, 40), share) for seed, share in enumerate((0.5, 0.1, 0.8))])[..., None]
    found = ops.convert_to_numpy(otsu_threshold(images.astype(np.float32)))
    assert found.shape == (3, 1, 1, 1)
    for image, threshold, share in zip(images, found.ravel(), (0.5, 0.1, 0.8), strict=True):
        # Between the modes are few voxels: there thresholds may differ.
        assert np.mean((image > threshold) != (image > threshold_otsu(image, nbins=BINS))) < 0.005
        assert (image > threshold).mean() == pytest.approx(share, abs=0.03)


def test_a_constant_map_has_a_finite_threshold() -> None:
    found = ops.convert_to_numpy(otsu_threshold(np.zeros((1, 8, 8, 1), np.float32)))
    assert np.isfinite(found).all()


def test_maps_count_alike_whatever_their_scale() -> None:
    rng = np.random.default_rng(0)
    a, b = (ndimage.gaussian_filter(rng.normal(size=(1, 12, 12, 2)), (0, 2, 2, 0)).astype(np.float32) for _ in range(2))
    first = ops.convert_to_numpy(NormalisedSum()([a, b]))
    np.testing.assert_allclose(ops.convert_to_numpy(NormalisedSum()([100 * a + 7, b])), first, atol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(NormalisedSum()([a, b, 0 * a])), first, atol=1e-5)
    assert first.min() == 0 and first.max() == 1 and first.shape == (1, 12, 12, 1)


def test_maps_of_a_coarser_grid_count_like_the_others() -> None:
    """Linear functions are resized exactly, away from the border."""
    fine, coarse = (np.arange(n, dtype=np.float32)[None, :, None, None] + np.zeros((1, n, n, 1)) for n in (12, 6))
    found = ops.convert_to_numpy(NormalisedSum()([fine], [[coarse, coarse[:, ::-1]]]))
    alone = ops.convert_to_numpy(NormalisedSum()([fine]))
    np.testing.assert_allclose(np.diff(found[0, 1:-1, 0, 0], 2), 0, atol=1e-6)
    np.testing.assert_allclose(found[0, 1:-1], alone[0, 1:-1], atol=1e-6)


@pytest.mark.parametrize(("rank", "levels"), [(2, 0), (2, 2), (3, 1)])
def test_a_new_generator_moves_nothing_and_keeps_the_grid(rank: int, levels: int) -> None:
    model = joint_generator(rank, 1, 4, 2, direct=True, levels=levels)
    shape = (9, 12, 7)[:rank]
    pair = {name: np.random.default_rng(0).random((2, *shape, 1), np.float32) for name in ("moving", "fixed", "mask")}
    found = {name: ops.convert_to_numpy(value) for name, value in model(pair).items()}
    assert found["field"].shape == (2, *shape, rank) and np.abs(found["field"]).max() < 0.05
    assert found["activation"].shape == found["synthesised"].shape == (2, *shape, 1)
    assert 0 <= found["synthesised"].min() and found["synthesised"].max() <= 1


def test_levels_let_a_voxel_see_farther() -> None:
    """One block of width 5 between convolutions of width 9, 3 and 9 reaches 4 + 2 + 1 + 4 voxels; a level, farther."""
    keras.utils.set_random_seed(0)
    reach = {}
    for levels in (0, 1, 2):
        network = joint_generator(2, 1, 4, 1, direct=False, levels=levels)
        for weight in network.weights:  # all positive, so that no path is cancelled or cut by a ReLU
            weight.assign(ops.abs(weight) + 0.01)
        images = np.full((2, 96, 96, 1), 0.5, np.float32)
        images[1, 48] += 1.0
        field = ops.convert_to_numpy(network({"moving": images, "fixed": images, "mask": images})["field"])
        seen = np.flatnonzero(np.abs(field[1] - field[0]).max(axis=(1, 2)) > 0)
        reach[levels] = max(48 - seen[0], seen[-1] - 48)
    assert reach[0] == 11 and reach[0] + 3 < reach[1] and reach[1] + 8 < reach[2]


@pytest.mark.parametrize("levels", [0, 1])
def test_training_the_mask_alone_changes_every_convolution_of_the_generator(levels: int) -> None:
    keras.utils.set_random_seed(0)
    network = joint_generator(2, 1, 4, 2, direct=False, levels=levels)
    model = keras.Model(network.inputs, network.output["activation"])
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    kernels = {w.path: w.numpy().copy() for w in model.trainable_weights if "kernel" in w.path}
    assert len(kernels) == 2 + 2 * 2 + 2 * levels
    rng = np.random.default_rng(1)
    images = [rng.random((4, 16, 16, 1), np.float32) for _ in range(3)]
    target = np.zeros((4, 16, 16, 1), np.float32)
    target[:, 4:12, 4:12] = 1
    inputs = dict(zip(("moving", "fixed", "mask"), images, strict=True))
    losses = [float(model.train_on_batch(inputs, target)) for _ in range(8)]
    assert losses[-1] < losses[0]
    for weight in model.trainable_weights:
        if weight.path in kernels:
            assert np.abs(weight.numpy() - kernels[weight.path]).max() > 0, weight.path


def test_the_discriminator_halves_where_it_doubles_and_takes_any_size() -> None:
    model = discriminator(2, 1, 8, "one")
    widths = [model.get_layer(f"convolution{n}").filters for n in range(1, 9)]
    assert widths == [8, 8, 16, 16, 32, 32, 64, 64]
    assert [model.get_layer(f"convolution{n}").strides[0] for n in range(1, 9)] == [1, 2] * 4
    for size in (32, 48):
        assert model(np.zeros((3, size, size, 1), np.float32)).shape == (3, 1)
