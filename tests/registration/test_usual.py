"""What a network's inputs usually look like, and how unlike them others are."""

import numpy as np
import pytest

from acreg.data.phantoms.chests import chest_phantom
from acreg.data.phantoms.hearts import heart_phantom
from acreg.errors import AcregError
from acreg.io import Image, Preprocessing
from acreg.registration.usual import COMPONENTS, Usual, UsualInputs, coarse

CHESTS = Preprocessing(shape=(64, 64))


def chest(seed):
    return CHESTS.apply(Image.from_array(chest_phantom(seed, (64, 64)).image))


@pytest.fixture(scope="module")
def inputs():
    return UsualInputs.of([chest(seed) for seed in range(24)])


def test_a_coarse_picture_is_the_mean_of_blocks_without_brightness_and_contrast():
    array = np.random.default_rng(0).random((64, 32, 1)).astype(np.float32)
    blocks = array[..., 0].reshape(16, 4, 16, 2).mean(axis=(1, 3)).ravel()
    expected = (blocks - blocks.mean()) / blocks.std()
    assert coarse(array) == pytest.approx(expected, abs=1e-5)
    assert coarse(3 * array + 7) == pytest.approx(expected, abs=1e-4)
    assert not coarse(np.full((64, 32, 1), 5, np.float32)).any()
    assert coarse(np.zeros((20, 64, 9, 1), np.float32)).size == 7 * 8 * 5


def test_other_chests_are_alike_and_everything_else_is_not(inputs):
    """A heart's slice takes the place of an organ that a chest network never saw."""
    chests = [inputs.unlikeness(chest(seed)) for seed in range(100, 108)]
    heart = heart_phantom(0).image
    others = {
        "turned": np.rot90(chest(100), axes=(0, 1)),
        "upside down": chest(100)[::-1],
        "negative": 1 - chest(100),
        "noise": np.random.default_rng(0).normal(size=(64, 64, 1)).astype(np.float32),
        "heart": CHESTS.apply(Image.from_array(heart[len(heart) // 2])),
    }
    distances = {name: inputs.unlikeness(array) for name, array in others.items()}
    assert max(chests) < 0.5 < min(distances.values()), (chests, distances)


def test_a_chest_that_is_reversed_is_told_from_one_that_is_not(inputs):
    rng = np.random.default_rng(0)
    for seed in range(100, 108):
        assert inputs.reversal(chest(seed)) == ()
        assert inputs.reversal(chest(seed)[::-1])[:1] == (0,)  # left and right of a chest differ little
    assert inputs.reversal(rng.normal(size=(64, 64, 1)).astype(np.float32)) == ()
    assert inputs.reversal(np.zeros((64, 64, 1), np.float32)) == ()


def test_variations_count_up_to_three_standard_deviations(inputs):
    mean, component = np.array(inputs.mean), np.array(inputs.components[0])
    assert len(inputs.components) == min(COMPONENTS, 24 // 3)

    def distance(times):
        picture = (mean + times * component).reshape(16, 16)
        rest = coarse(np.kron(picture, np.ones((4, 4)))[..., None]) - mean  # normalised again
        return inputs.unlikeness(np.kron(picture, np.ones((4, 4)))[..., None]), np.sqrt((rest**2).mean())

    near, far = distance(2), distance(12)
    assert near[0] < 0.3 * near[1] and far[0] > 0.5 * far[1]


def test_another_grid_is_refused(inputs):
    with pytest.raises(AcregError, match=r"of 256 cells, and an input of \(40, 40, 40\) with 512"):
        inputs.unlikeness(np.zeros((40, 40, 40, 1), np.float32))


@pytest.mark.parametrize(
    "change", [{"mean": [1.0]}, {"limit": 0.0}, {"components": [["a"]]}, {"mean": [float("inf")] * 256}]
)
def test_damaged_inputs_are_refused(tmp_path, inputs, change):
    good = Usual(
        data="chests", pairs=1, ncc=0.5, nmi=1.1, folded_percent=0, inputs=inputs.model_copy(update={"limit": 0.4})
    )
    (tmp_path / "usual.json").write_text(good.model_dump_json(), encoding="utf-8")
    assert Usual.of_preset(tmp_path) == good
    bad = good.model_copy(update={"inputs": {**good.inputs.model_dump(), **change}})
    (tmp_path / "usual.json").write_text(bad.model_dump_json(warnings=False), encoding="utf-8")
    with pytest.raises(AcregError, match=r"Received: .*usual.json"):
        Usual.of_preset(tmp_path)
