import itertools
import json

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError
from acreg.geometry import Grid, resize_image
from acreg.io import Image, Preprocessing


def test_minmax_reaches_zero_and_one_whatever_the_depth():
    array = np.random.default_rng(0).integers(500, 60000, size=(50, 70)).astype(float)
    result = Preprocessing(shape=(32, 32)).apply(Image.from_array(array))
    assert result.shape == (32, 32, 1) and result.dtype == np.float32
    assert result.min() == 0 and result.max() == 1
    again = Preprocessing(shape=(32, 32)).apply(Image.from_array(array * 0.001 + 7))
    np.testing.assert_allclose(result, again, atol=1e-4)


@pytest.mark.parametrize("value", [0, 7, -3e5])
def test_a_constant_image_becomes_zeros(value):
    assert not Preprocessing(shape=(4, 4)).apply(Image.from_array(np.full((9, 9), value))).any()
    stripes = np.indices((8, 8)).sum(axis=0) % 2 * 2.0 + 1000
    assert Preprocessing(shape=(8, 8)).apply(Image.from_array(stripes)).any()


def test_labels_that_the_networks_grid_does_not_see_are_refused():
    image = Image(np.random.default_rng(0).random((20, 24)), Grid((20, 24), (1, 1), (500.0, 0.0)))
    labels, settings = (
        np.pad(np.ones((4, 4), int), ((8, 8), (10, 10))),
        Preprocessing(shape=(16, 16), label_values=[0, 1]),
    )
    drawn = Image(labels, image.grid, "labels")
    assert settings.apply_labels(drawn, settings.grid(image)).sum() > 0
    with pytest.raises(AcregError, match="some of them on the network's grid. Received: x.png on .*labels_on"):
        settings.apply_labels(Image.from_array(labels, kind="labels", name="x.png"), settings.grid(image))


def test_division_by_255():
    array = np.random.default_rng(0).integers(20, 200, size=(64, 64))
    preprocessing = Preprocessing(shape=(64, 64), intensity="divide_by_255")
    np.testing.assert_allclose(preprocessing.apply(Image.from_array(array))[..., 0], array / 255, rtol=1e-6)
    smaller = Preprocessing(shape=(32, 32), intensity="divide_by_255").apply(Image.from_array(array))
    np.testing.assert_allclose(smaller[..., 0], resize_image(array, (32, 32)) / 255, rtol=1e-6)
    deep = preprocessing.apply(Image.from_array(array * 200))
    assert deep.min() == 0 and deep.max() == 1
    # how deep an image is does not depend on the size that it is reduced to
    speck = np.zeros((64, 64))
    speck[32, 32] = 4095
    whole = Preprocessing(shape=(4, 4), trim=False, intensity="divide_by_255")
    assert whole.apply(Image.from_array(speck)).max() == 1


def test_labels_become_their_position_in_the_fixed_set():
    preprocessing = Preprocessing(shape=(4, 4), label_values=[0, 10, 20])
    labels = np.zeros((8, 8), int)
    labels[4:] = 20  # 10 does not occur, and 20 is still id 2
    grid = preprocessing.grid(Image.from_array(np.indices((8, 8)).sum(axis=0)))
    result = preprocessing.apply_labels(Image.from_array(labels, kind="labels"), grid)
    assert result.shape == (4, 4, 1) and result.dtype == np.int32
    np.testing.assert_array_equal(result[..., 0], np.repeat([0, 0, 2, 2], 4).reshape(4, 4))
    labels[0, 0] = 11
    with pytest.raises(AcregError, match=r"among \[0, 10, 20\].*with 11"):
        preprocessing.apply_labels(Image.from_array(labels, kind="labels", name="a.png"), grid)


def test_volumes_and_the_wrong_rank():
    preprocessing = Preprocessing(shape=(4, 5, 6))
    assert preprocessing.apply(Image.from_array(np.ones((8, 8, 8)))).shape == (4, 5, 6, 1)
    with pytest.raises(AcregError, match=r"3 axes.*\(8, 8\)"):
        preprocessing.apply(Image.from_array(np.ones((8, 8))))


def test_an_image_keeps_its_proportions_and_the_short_side_is_padded():
    array = np.random.default_rng(0).uniform(1, 9, size=(20, 40))
    wide = Image(array, Grid((20, 40), (2.0, 0.5)))  # 40 mm x 20 mm
    preprocessing = Preprocessing(shape=(20, 20))
    grid = preprocessing.grid(wide)
    assert grid.spacing == (2.0, 2.0) and grid.origin == pytest.approx((0.0, -9.25))
    result = preprocessing.apply(wide)[..., 0]
    outside = np.ones(20, bool)
    outside[5:15] = False
    low = np.percentile(array.astype(np.float32), 0.5)
    inside = resize_image(array, (20, 10))
    least = min(low, inside.min())
    np.testing.assert_allclose(result[:, outside], (low - least) / (inside.max() - least), atol=1e-5)
    np.testing.assert_allclose(result[:, ~outside], (inside - least) / (inside.max() - least), atol=1e-5)


def test_padding_is_trimmed_wherever_it_is_and_whatever_its_value():
    array = np.random.default_rng(0).normal(size=(30, 22)).astype(np.float32)
    image = Image(array, Grid((30, 22), (1.5, 1.0), (10.0, -4.0)))
    preprocessing = Preprocessing(shape=(16, 16))
    expected = preprocessing.grid(image)
    for value, margins in ((0.0, [(3, 9), (0, 4)]), (-7.0, [(1, 0), (11, 2)])):
        grid = image.grid.part([-margins[0][0], -margins[1][0]], np.add(array.shape, np.sum(margins, axis=1)))
        padded = Image(np.pad(array, margins, constant_values=value), grid)
        found = preprocessing.grid(padded)
        np.testing.assert_allclose(found.matrix, expected.matrix, atol=1e-9)
        assert not np.allclose(preprocessing.model_copy(update={"trim": False}).grid(padded).matrix, expected.matrix)
    half = np.zeros((9, 12))
    half[2:7, 6:] = np.random.default_rng(1).normal(size=(5, 6))
    grid = preprocessing.grid(Image.from_array(half))
    assert grid.spacing == (6 / 16, 6 / 16) and grid.to_world([7.5, 7.5]) == pytest.approx((4.0, 8.5))


def test_orientation_does_not_change_what_a_network_sees():
    rng = np.random.default_rng(0)
    direction = Rotation.from_euler("xyz", [0.2, -0.3, 0.1]).as_matrix()
    grid = Grid((12, 10, 14), (1.0, 2.0, 1.5), (1e5, -40.0, 7.0), direction)
    image = Image(rng.uniform(size=grid.shape), grid)
    preprocessing = Preprocessing(shape=(8, 8, 8), spacing=(2.0, 2.0, 2.5))
    expected = preprocessing.apply(image)
    assert expected.std() > 0.1
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            array = image.array.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
            corner = np.zeros(3)
            corner[list(axes)] = [n - 1 if s < 0 else 0 for n, s in zip(array.shape, signs)]
            other = Grid(
                array.shape,
                tuple(np.take(grid.spacing, axes)),
                tuple(grid.to_world(corner)),
                np.asarray(grid.direction)[:, axes] * signs,
            )
            np.testing.assert_allclose(preprocessing.apply(Image(array, other)), expected, atol=1e-5)


def test_with_a_spacing_the_grid_is_centred_on_the_content_and_crops_or_pads():
    array = np.zeros((40, 40))
    array[6:17, 20:31] = 5.0  # its middle is (11, 25)
    array[0, 0] = array[-1, -1] = 1e-3  # nothing to trim
    image = Image(array, Grid((40, 40), (1.0, 2.0), (3.0, 4.0)))
    small = Preprocessing(shape=(10, 60), spacing=(2.0, 1.0), centre="mass")
    grid = small.grid(image)
    assert grid.shape == (10, 60) and grid.spacing == (2.0, 1.0)
    assert grid.to_world([4.5, 29.5]) == pytest.approx((14.0, 54.0), abs=1e-3)
    result = small.apply(image)[..., 0]
    assert result.max() == 1 and (result > 0.5).sum() == pytest.approx(11 * 22 / 2, rel=0.1)


def test_waves_that_interpolation_leaves_in_padding_move_nothing():
    """A head in air, resampled by splines: its minimum lies far below the air around it."""
    at = np.stack(np.indices((50, 44, 40)), -1)
    head = 1000.0 * (np.linalg.norm((at - [22, 25, 18]) / [15, 12, 13], axis=-1) < 1)
    smooth = ndimage.zoom(head, 0.77, order=3, grid_mode=True, mode="nearest")
    assert smooth.min() < -50
    spacing = np.divide(head.shape, smooth.shape)
    grid = Grid(smooth.shape, tuple(spacing), tuple(spacing / 2 - 0.5))
    preprocessing = Preprocessing(shape=(12, 12, 12), spacing=(4, 4, 4), centre="mass", intensity="percentiles")
    found, expected = preprocessing.grid(Image(smooth, grid)), preprocessing.grid(Image.from_array(head))
    assert np.linalg.norm(np.subtract(found.origin, expected.origin)) < 0.1
    result = preprocessing.apply(Image(smooth, grid))
    assert np.abs(result - preprocessing.apply(Image.from_array(head))).mean() < 0.05
    assert result.min() == 0 and result.max() == 1


def test_a_window_clips_before_it_scales():
    array = np.linspace(-2000, 3000, 64).reshape(8, 8)
    windowed = Preprocessing(shape=(8, 8), window=(-1000, 1000)).apply(Image.from_array(array))[..., 0]
    np.testing.assert_allclose(windowed, (np.clip(array, -1000, 1000) + 1000) / 2000, atol=1e-6)


def test_json_round_trip(tmp_path):
    path = tmp_path / "preprocessing.json"
    settings = Preprocessing(
        shape=(64, 48), intensity="divide_by_255", label_values=[0, 1], label_names={0: "background", 1: "lung"}
    )
    settings.to_json(path)
    assert Preprocessing.from_json(path) == settings
    assert json.loads(path.read_text(encoding="utf-8"))["shape"] == [64, 48]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("{}", "shape: Field required"),
        ('{"shape": [64, 0]}', "shape: .*at least 1"),
        ('{"shape": [64, 64], "intensity": "zscore"}', "intensity: "),
        ('{"shape": [64, 64], "sahpe": 3}', "sahpe: "),
        ('{"shape": [64, 64], "spacing": [1]}', "spacing must be 2 positive numbers"),
        ('{"shape": [64, 64], "window": [4, 3]}', "window: .*the lower first"),
        ('{"shape": [64, 64], "window": [0, 3], "intensity": "divide_by_255"}', "intensity must be minmax"),
        ('{"shape": [64, 64], "label_values": [1, 2]}', "label_values: "),
    ],
)
def test_settings_that_do_not_fit_are_one_paragraph(tmp_path, text, message):
    path = tmp_path / "preprocessing.json"
    path.write_text(text)
    with pytest.raises(AcregError, match=message) as caught:
        Preprocessing.from_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_wrong_call(tmp_path):
    with pytest.raises(AcregError, match="must be a file that exists"):
        Preprocessing.from_json(tmp_path / "none.json")
    with pytest.raises(ValidationError, match="2 or 3 numbers"):
        Preprocessing(shape=(4,))
