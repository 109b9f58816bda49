"""Labels form regions: grey levels of images, and masks that compression or interpolation changed, are refused."""

import io
import warnings

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from acreg.errors import AcregError, DoubtfulResult
from acreg.io import Image, read_labels, write_image
from acreg.io.label_values import has_regions, warn_of_other_names

DISTANCE = np.hypot(*(np.indices((128, 128)) - 63.5))
MASK = np.where(DISTANCE < 40, 255, 0).astype(np.uint8)
PARTS = (np.clip(DISTANCE // 12, 0, 4) * 50).astype(np.uint8)


def atlas(labels, shape=(48, 48, 48), seed=0):
    """Regions around random points; numbers as of the mouse brain."""
    rng = np.random.default_rng(seed)
    seeds = np.ones(shape, bool)
    seeds[tuple(rng.integers(0, n, labels) for n in shape)] = False
    nearest = ndimage.distance_transform_edt(seeds, return_distances=False, return_indices=True)
    numbers = rng.integers(1, 700_000_000, shape)[tuple(nearest)]
    return np.where(ndimage.distance_transform_edt(np.pad(np.ones(np.subtract(shape, 2)), 1)) > 6, numbers, 0)


def xray(side, smooth):
    rng = np.random.default_rng(1)
    image = ndimage.gaussian_filter(rng.normal(size=(side, side)), side / 8) * side / 3
    image += ndimage.gaussian_filter(rng.normal(size=(side, side)), smooth) * 0.1
    return ((image - image.min()) / np.ptp(image) * 255).round().astype(np.uint8)


def saved(picture, quality=None, size=None):
    """A picture resized with interpolation, or compressed as a photo is."""
    found = PIL.Image.fromarray(picture)
    if size is not None:
        return np.asarray(found.resize((size, size), PIL.Image.Resampling.BILINEAR))
    stream = io.BytesIO()
    found.save(stream, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(stream))


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(MASK, id="mask"),
        pytest.param(PARTS, id="rings"),
        pytest.param(atlas(300), id="300 large numbers"),
        pytest.param(-atlas(40), id="negative"),
        pytest.param(atlas(300)[:, :, 20], id="a slice"),
        pytest.param(atlas(150)[::3, ::3, ::3], id="reduced"),
        pytest.param(np.where(np.random.default_rng(2).random(MASK.shape) < 0.02, 3, MASK), id="lesions"),
        pytest.param(np.bincount([50, 900, 2000, 3500], [1, 2, 3, 4], 4096).reshape(64, 64).astype(int), id="points"),
        pytest.param(np.where(np.abs(DISTANCE % 10 - 5) < 0.5, DISTANCE // 10, 0).astype(int), id="thin lines"),
        pytest.param(np.random.default_rng(3).integers(0, 99, (5, 6, 7)), id="too small to judge"),
        pytest.param(np.zeros((64, 64), int), id="empty"),
    ],
)
def test_label_maps(labels):
    assert has_regions(labels)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(xray(256, 0.5), id="x-ray"),
        pytest.param(xray(64, 0.5), id="small x-ray"),
        pytest.param(xray(512, 1.5), id="smooth x-ray"),
        pytest.param(np.kron(xray(256, 0.5), np.ones((4, 4), int)), id="enlarged x-ray"),
        pytest.param(xray(256, 0.5).astype(int) * 16 - 1024, id="hounsfield units"),
        pytest.param(np.random.default_rng(4).integers(0, 256, (32, 32, 32)), id="noise"),
        pytest.param(np.random.default_rng(5).integers(0, 60000, (12, 12, 12)), id="hardly a value twice"),
        pytest.param(saved(MASK, quality=30), id="mask as JPEG of low quality"),
        pytest.param(saved(MASK, quality=95), id="mask as JPEG of high quality"),
        pytest.param(saved(MASK, quality=100), id="mask as JPEG of full quality"),
        pytest.param(saved(PARTS, quality=90), id="rings as JPEG"),
        pytest.param(saved(MASK, size=150), id="mask enlarged linearly"),
        pytest.param(saved(MASK, size=64), id="mask reduced linearly"),
        pytest.param(ndimage.uniform_filter(MASK.astype(int), 3), id="mask with soft edges"),
    ],
)
def test_images_and_changed_masks(image):
    assert not has_regions(image)


def test_an_x_ray_is_no_label_map_unless_its_values_are_the_datasets(tmp_path):
    write_image(Image.from_array(xray(128, 0.5)), tmp_path / "x.png")
    with pytest.raises(AcregError, match=r"x\.png with \d+ values from 0 to 255, most of them scattered.*JPEG"):
        read_labels(tmp_path / "x.png")
    assert np.ptp(read_labels(tmp_path / "x.png", values=range(256)).array) == 255


def test_a_large_map_is_judged_by_its_middle():
    large = np.zeros((3000, 3000), np.int32)
    large[700:1724, 900:1924] = np.kron(xray(256, 0.5), np.ones((4, 4), int))
    assert not has_regions(large)
    large[700:1724, 900:1924] = np.kron(PARTS, np.ones((8, 8), int))
    assert has_regions(large)


def test_a_label_with_another_name_than_in_the_preset_is_doubtful() -> None:
    known = {0: "background", 1: "left lung", 2: "right lung", 3: "label 3"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_names(known, {0: "none", 1: "Left Lung", 2: "label 2", 3: "heart", 4: "liver"}, "chests")
        warn_of_other_names({}, {1: "lungs"}, "chests")
    with pytest.warns(DoubtfulResult, match="1 is left lung in the preset and lungs in montgomery. Use another preset"):
        warn_of_other_names(known, {0: "background", 1: "lungs"}, "montgomery")
