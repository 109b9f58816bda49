"""What is usual for a preset, measured on a dataset that it made no use of."""

import json

import numpy as np
import pytest
from scipy import ndimage

from acreg.data.phantoms.chests import make_dataset
from acreg.evaluation import usual
from acreg.evaluation.pairs import choose_pairs
from acreg.io import Preprocessing
from acreg.registration.methods import Unregistered
from acreg.registration.usual import Usual


@pytest.fixture
def data(tmp_path):
    return make_dataset(tmp_path / "data", subjects=10, shape=(32, 24), seed=0)


def test_limits_are_the_extremes_over_the_pairs_of_the_split(data):
    found = usual.measure(Unregistered(), data, "train", pairs=12, seed=3)
    names = [record.subject for record in data.split("train")]
    ncc = []
    for pair in choose_pairs("12", names, 3):
        arrays = [data.read_image(data.record(name)).array.ravel() for name in pair]
        ncc.append(np.corrcoef(*arrays)[0, 1])
    assert found.ncc == pytest.approx(min(ncc), abs=1e-4) and 1 < found.nmi < 2
    assert found.folded_percent == 0 and found.pairs == 12 and found.data == "phantoms, train"


def test_one_pair_of_so_many_is_left_out(data, monkeypatch):
    monkeypatch.setattr(usual, "LEFT_OUT", 5)
    lowest = [usual.measure(Unregistered(), data, "train", pairs=n, seed=3).ncc for n in (4, 12)]
    names = [record.subject for record in data.split("train")]
    for n, found, left_out in zip((4, 12), lowest, (0, 2), strict=True):
        ncc = []
        for pair in choose_pairs(str(n), names, 3):
            arrays = [data.read_image(data.record(name)).array.ravel() for name in pair]
            ncc.append(np.corrcoef(*arrays)[0, 1])
        assert found == pytest.approx(sorted(ncc)[left_out], abs=1e-4)


def test_all_pairs_are_taken_of_a_small_split(data):
    assert usual.measure(Unregistered(), data, "validation", pairs=500).pairs == 2


def test_the_command_writes_what_concerns_read(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(usual, "preset_method", lambda preset: Unregistered())
    monkeypatch.setattr(usual, "preset_folder", lambda preset: tmp_path)
    usual.main(["mine", "--data", str(data.folder), "--pairs", "3"])
    found = Usual.of_preset(tmp_path)
    assert found is not None and found.pairs == 3
    assert json.loads(capsys.readouterr().out) == found.model_dump()


def test_the_limit_of_inputs_holds_for_the_other_images_of_the_dataset(tmp_path, data):
    """It is measured on images that were left out, so it allows for more than the training images themselves."""
    chests = make_dataset(tmp_path / "more", subjects=20, shape=(64, 56), seed=1)
    preprocessing = Preprocessing(shape=(64, 64))
    inputs = usual.measure_inputs(preprocessing.apply, chests)
    train, others = chests.split("train"), [*chests.split("validation"), *chests.split("test")]
    assert inputs.images == len(train) == 12
    distances = [inputs.unlikeness(preprocessing.apply(chests.read_image(record))) for record in others]
    assert max(distances) < inputs.limit < 1
    own = np.mean([inputs.unlikeness(preprocessing.apply(chests.read_image(record))) for record in train])
    assert own < np.mean(distances)
    assert usual.measure_inputs(preprocessing.apply, data, "validation") is None, "two images say nothing"


def test_a_network_that_was_trained_on_turned_images_knows_them(tmp_path):
    chests = make_dataset(tmp_path / "chests", subjects=20, shape=(64, 56), seed=1)
    preprocessing = Preprocessing(shape=(64, 64))
    upright, turned = (usual.measure_inputs(preprocessing.apply, chests, "train", degrees) for degrees in (0, 30))
    assert upright.images == 12 and turned.images == 12 * (1 + 160 // 12)
    array = preprocessing.apply(chests.read_image(chests.split("test")[0]))
    ratios = {}
    for angle in (0, 25, 90):
        image = ndimage.rotate(array, angle, reshape=False, order=1, mode="nearest")
        ratios[angle] = [each.unlikeness(image) / each.limit for each in (upright, turned)]
    assert ratios[0][0] < 1 and ratios[0][1] < 1
    assert ratios[25][0] > 1 > ratios[25][1] and min(ratios[90]) > 1, ratios
