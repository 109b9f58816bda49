"""`register`: images of any size in, a transform on the fixed image's own grid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry import Grid, Transform
from acreg.io import Image, Preprocessing, write_image
from acreg.models import RegNet


@pytest.fixture
def shifting() -> RegNet:
    """A network that answers every pair with the same displacement: (1, -2) voxels of its 16 x 24 grid."""
    model = RegNet(network="unet", filters=(4, 8), preprocessing=Preprocessing(shape=(16, 24)))
    head = model.network.get_layer("head")
    head.kernel.assign(np.zeros(head.kernel.shape))
    head.bias.assign([1.0, -2.0])
    return model


@pytest.fixture
def still(shifting: RegNet) -> RegNet:
    shifting.network.get_layer("head").bias.assign([0.0, 0.0])
    return shifting


def smooth(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    picture = ndimage.gaussian_filter(noise, 4)
    return (255 * (picture - picture.min()) / np.ptp(picture)).astype(np.float32)


def test_identity_gives_the_moving_image_on_the_fixed_grid(still: RegNet) -> None:
    fixed = Image(smooth((100, 90)), Grid((100, 90), (0.5, 0.7)))
    moving = Image(smooth((80, 70), 1), Grid((80, 70)))
    transform = still.register(fixed, moving)
    assert isinstance(transform, Transform)
    assert transform.displacement.shape == (100, 90, 2)
    assert not transform.maps[0].vectors.any()
    assert transform.fixed == fixed.grid
    assert transform.folding()["folded_percent"] == 0
    warped = transform.warp_image(moving)
    assert warped.grid == fixed.grid
    # Each image fills the network's 16 x 24 grid along one axis, the other is padded; the middles meet.
    spacing = [max(50 / 16, 63 / 24), max(80 / 16, 70 / 24)]
    ratio = spacing[1] / spacing[0] * np.array([0.5, 0.7])
    at = np.meshgrid(
        *((np.arange(f) - (f - 1) / 2) * r + (m - 1) / 2 for f, m, r in ((100, 80, ratio[0]), (90, 70, ratio[1]))),
        indexing="ij",
    )
    np.testing.assert_allclose(
        warped.array, ndimage.map_coordinates(moving.array, at, order=1, mode="nearest"), atol=1e-3
    )


def test_displacement_is_in_voxels_of_the_fixed_image(shifting: RegNet) -> None:
    transform = shifting.register(smooth((100, 90)), smooth((100, 90), 1))
    # 16 rows cover 100 voxels; the columns have the rows' spacing.
    np.testing.assert_allclose(transform.displacement[..., 0], 1 * 100 / 16, rtol=1e-4)
    np.testing.assert_allclose(transform.displacement[..., 1], -2 * 100 / 16, rtol=1e-4)


def test_arrays_images_and_paths_are_the_same(tmp_path: Path, shifting: RegNet) -> None:
    a, b = (np.round(smooth(shape, seed)) for seed, shape in enumerate([(40, 36), (32, 48)]))
    images = [Image(array, Grid(array.shape)) for array in (a, b)]
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for image, path in zip(images, paths):
        write_image(image, path)
    network = shifting.network
    for weight in network.weights:
        weight.assign(np.asarray(weight) + 0.05)
    found = [shifting.register(*pair).displacement for pair in ((a, b), images, paths, map(str, paths))]
    assert found[0].std() > 0
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_volumes_are_registered(make_model: Any) -> None:
    model = make_model("pyramid-3d-velocity")
    transform = model.register(smooth((18, 20, 14)), smooth((12, 22, 16), 1))
    assert transform.displacement.shape == (18, 20, 14, 3)
    assert np.isfinite(transform.displacement).all()
    assert transform.warp_image(Image(smooth((12, 22, 16), 1), Grid((12, 22, 16)))).array.shape == (18, 20, 14)


def test_what_cannot_be_registered(tmp_path: Path, shifting: RegNet) -> None:
    with pytest.raises(AcregError, match="2 axes. Received: fixed of shape"):
        shifting.register(smooth((8, 8, 8)), smooth((8, 8)))
    with pytest.raises(AcregError, match=r"must exist. Received: .*none.png"):
        shifting.register(tmp_path / "none.png", smooth((8, 8)))
    shifting.preprocessing = None
    with pytest.raises(AcregError, match="`preprocessing` is None. Load a preset"):
        shifting.register(smooth((8, 8)), smooth((8, 8)))
