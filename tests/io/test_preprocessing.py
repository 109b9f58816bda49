import json

import numpy as np
import pytest
from pydantic import ValidationError

from acreg.errors import AcregError
from acreg.geometry import resize_image
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
    assert Preprocessing(shape=(4, 4), intensity="divide_by_255").apply(Image.from_array(speck)).max() == 1


def test_labels_become_their_position_in_the_fixed_set():
    preprocessing = Preprocessing(shape=(4, 4), label_values=[0, 10, 20])
    labels = np.zeros((8, 8), int)
    labels[4:] = 20  # 10 does not occur, and 20 is still id 2
    result = preprocessing.apply_labels(Image.from_array(labels, kind="labels"))
    assert result.shape == (4, 4, 1) and result.dtype == np.int32
    np.testing.assert_array_equal(result[..., 0], np.repeat([0, 0, 2, 2], 4).reshape(4, 4))
    labels[0, 0] = 11
    with pytest.raises(AcregError, match=r"among \[0, 10, 20\].*with 11"):
        preprocessing.apply_labels(Image.from_array(labels, kind="labels", name="a.png"))


def test_volumes_and_the_wrong_rank():
    preprocessing = Preprocessing(shape=(4, 5, 6))
    assert preprocessing.apply(Image.from_array(np.ones((8, 8, 8)))).shape == (4, 5, 6, 1)
    with pytest.raises(AcregError, match=r"3 axes.*\(8, 8\)"):
        preprocessing.apply(Image.from_array(np.ones((8, 8))))


def test_json_round_trip(tmp_path):
    path = tmp_path / "preprocessing.json"
    settings = Preprocessing(
        shape=(64, 48), intensity="divide_by_255", label_values=[0, 1], label_names={0: "background", 1: "lung"}
    )
    settings.to_json(path)
    assert Preprocessing.from_json(path) == settings
    assert json.loads(path.read_text())["shape"] == [64, 48]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("{}", "shape: Field required"),
        ('{"shape": [64, 0]}', "shape: .*at least 1"),
        ('{"shape": [64, 64], "intensity": "zscore"}', "intensity: "),
        ('{"shape": [64, 64], "sahpe": 3}', "sahpe: "),
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
    with pytest.raises(AcregError, match="readable JSON file"):
        Preprocessing.from_json(tmp_path / "none.json")
    with pytest.raises(ValidationError, match="2 or 3 numbers"):
        Preprocessing(shape=(4,))
