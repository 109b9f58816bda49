"""What speaks against a result, and that nothing speaks against a good one."""

import json

import numpy as np
import pytest
from scipy import ndimage

from acreg.data.phantoms.chests import chest_phantom
from acreg.errors import AcregError
from acreg.geometry import Affine, Displacement, Grid, Transform
from acreg.io import Image
from acreg.registration.concerns import NAMES, Concern, concerns, verdict
from acreg.registration.methods import Unregistered
from acreg.registration.pair import register_pair
from acreg.registration.usual import Usual, UsualInputs

SHAPE = (64, 56)


class Given:
    """Answers with a displacement in voxels, the extents laid over each other."""

    name = "given"

    def __init__(self, displacement):
        self.displacement = np.broadcast_to(np.asarray(displacement, np.float32), (*SHAPE, 2))

    def register(self, fixed, moving):
        return Transform.between_extents(fixed.grid, moving.grid, self.displacement)


def smooth(amount, seed=0):
    noise = np.random.default_rng(seed).normal(size=(*SHAPE, 2))
    field = ndimage.gaussian_filter(noise, (6, 6, 0))
    return amount * field / np.abs(field).max()


@pytest.fixture(scope="module")
def pair():
    """An image and what a known field makes of it, so that the field is the answer."""
    moving = Image.from_array(chest_phantom(1, SHAPE).image)
    fixed = Given(smooth(4)).register(moving, moving).warp_image(moving)
    return fixed, moving


def found(method, fixed, moving, **more):
    result = register_pair(method, fixed=fixed, moving=moving)
    return [concern.name for concern in concerns(result, fixed=fixed, moving=moving, **more)]


def test_nothing_speaks_against_the_right_field(pair):
    assert register_pair(Given(smooth(4)), fixed=pair[0], moving=pair[1]).concerns == []


@pytest.mark.parametrize(
    "displacement, expected",
    [
        (smooth(9, 1), {"similarity"}),
        ((0.0, 0.0), {"zero"}),
        ((0.0, 0.005), {"zero"}),
        ((50.0, 0.0), {"similarity", "overlap", "displacement"}),
        ((500.0, 0.0), {"similarity", "overlap", "displacement"}),
        (smooth(25, 1), {"similarity", "folding"}),
    ],
)
def test_each_fault_of_a_field_is_named(pair, displacement, expected):
    assert set(found(Given(displacement), *pair)) == expected


def test_no_method_and_one_image_need_not_move(pair):
    assert register_pair(Unregistered(), fixed=pair[0], moving=pair[1]).concerns == []
    assert found(Given((0.0, 0.0)), pair[0], pair[0]) == []
    assert found(Given(smooth(3, 2)), pair[0], pair[0]) == ["similarity"], "an image onto itself is moved"


def test_a_deformation_of_zero_after_an_affine_map_is_named(pair):
    fixed, moving = pair

    class Stuck:
        name = "stuck"

        def register(self, fixed, moving):
            shift = Affine(np.array([[1, 0, 2], [0, 1, 0], [0, 0, 1.0]]))
            return Transform(fixed.grid, moving.grid, (Displacement(np.zeros((*SHAPE, 2)), fixed.grid), shift))

    method = Stuck()
    assert "zero" in found(method, fixed, moving)
    assert "zero" not in found(method, fixed, moving, deforms=False)  # a network's affine part alone


def test_a_negative_is_no_worse_match(pair):
    """Of two modalities the correlation falls where the mutual information rises."""
    fixed, moving = pair
    negative = Image(255 - moving.array, moving.grid)
    result = register_pair(Given(smooth(4)), fixed=fixed, moving=negative)
    assert result.after.ncc < result.before.ncc < 0 and result.after.nmi > result.before.nmi
    assert result.concerns == []


def test_a_flat_image_is_named_whichever_it_is(pair):
    flat = Image(np.full(SHAPE, 7.0), pair[0].grid)
    for images in ((flat, pair[1]), (pair[0], flat), (flat, flat)):
        assert found(Given((1.0, 0.0)), *images) == ["constant"]


def test_where_images_lie_in_space_is_no_displacement(pair):
    """The moving image lies half a metre away; the transform goes there."""
    fixed, moving = pair
    away = Image(moving.array, Grid(SHAPE, (1.0, 1.0), (500.0, -300.0)))
    assert register_pair(Given(smooth(4)), fixed=fixed, moving=away).concerns == []


def test_what_is_unusual_for_a_preset_is_named_and_what_folds_usually_is_not(pair):
    usual = Usual(data="chests, train", pairs=100, ncc=0.9999, nmi=1.99, folded_percent=60.0)
    assert found(Given(smooth(3)), *pair) == []
    assert found(Given(smooth(3)), *pair, usual=usual) == ["unusual"]
    for low in ({"ncc": 0.5}, {"nmi": 1.0}):
        assert found(Given(smooth(3)), *pair, usual=usual.model_copy(update=low)) == []
    assert found(Given(smooth(25, 1)), *pair) == ["similarity", "folding"]
    assert found(Given(smooth(25, 1)), *pair, usual=usual) == ["similarity", "unusual"]


def test_what_a_network_does_not_look_at_is_named(pair):
    whole, corner = pair[0].grid, Grid((20, 20), (1.0, 1.0))
    far_larger = Grid((64, 56), (4.0, 4.0), (-90.0, -80.0))
    method = Given(smooth(4))
    assert found(method, *pair, sees=(whole, whole)) == []
    for grids in ((corner, whole), (whole, corner), (far_larger, far_larger)):
        assert found(method, *pair, sees=grids) == ["scope"]


class BothWays(Given):
    """Answers in one direction, and with another displacement when it is asked again."""

    both_ways = True

    def __init__(self, displacement, back):
        super().__init__(displacement)
        self.answers = [self.displacement, Given(back).displacement]

    def register(self, fixed, moving):
        return Transform.between_extents(fixed.grid, moving.grid, self.answers.pop(0))


def test_a_way_back_that_misses_its_start_is_named(pair):
    """The content is about as large as the image, whose diagonal is 85 mm; the fields are shifts there and back."""
    fixed, moving = pair
    for back, expected in ((-3.0, "ok"), (9.0, "look at it"), (27.0, "failed")):
        result = register_pair(BothWays(smooth(4) + (3.0, 0.0), (back, 0.0)), fixed=fixed, moving=moving)
        named = {concern.name: concern.verdict for concern in result.concerns}
        assert named.get("inverse", "ok") == expected, (back, result.inverse_error)
    once = register_pair(BothWays(smooth(4), (27.0, 0.0)), fixed=fixed, moving=moving, both_ways=False)
    assert once.inverse_error is None and once.verdict == "ok"


def test_strong_stretching_without_folds_is_named(pair):
    """The determinant is 0.1 in one half of the image and 1.9 in the other."""
    strain = np.zeros((*SHAPE, 2))
    strain[..., 0] = -0.9 * (32 - np.abs(np.arange(64) - 32.0))[:, None]
    named = {concern.name for concern in register_pair(Given(strain), fixed=pair[0], moving=pair[1]).concerns}
    assert "spread" in named and "folding" not in named


class Trained(Given):
    """A network that knows its training images: chests."""

    def __init__(self, displacement):
        super().__init__(displacement)
        chests = [chest_phantom(seed, SHAPE).image[..., None] for seed in range(12)]
        inputs = UsualInputs.of(chests, limit=0.5)
        self.usual = Usual(data="chests, train", pairs=9, ncc=0.0, nmi=1.0, folded_percent=0, inputs=inputs)

    def preprocessed(self, image):
        return image.array[..., None]


def test_a_chest_network_says_that_it_was_given_something_else(pair):
    fixed, moving = pair
    assert register_pair(Trained(smooth(4)), fixed=fixed, moving=moving).verdict == "ok"
    rows, columns = np.indices(SHAPE)
    knee = Image(np.exp(-((columns - 28.0) ** 2) / 60) * (1 - 0.7 * (np.abs(rows - 32) < 2)), fixed.grid)
    for role, images in (("fixed", (knee, moving)), ("moving", (fixed, knee))):
        result = register_pair(Trained(smooth(4)), fixed=images[0], moving=images[1])
        (concern,) = [concern for concern in result.concerns if concern.name == "unlike"]
        assert f"The {role} image is unlike those on which the preset was trained (chests, train)" in concern.text
        assert concern.verdict == result.verdict == "look at it"


def test_an_image_that_lies_upside_down_fails_though_it_is_hardly_unlike(pair):
    """A limit that is not passed: the network was trained on images of many kinds."""
    fixed, moving = pair
    network = Trained(smooth(4))
    network.usual = network.usual.model_copy(update={"inputs": network.usual.inputs.model_copy(update={"limit": 2.0})})
    turned = Image(moving.array[::-1], moving.grid)
    result = register_pair(network, fixed=fixed, moving=turned)
    (concern,) = [concern for concern in result.concerns if concern.name == "reversed"]
    assert "The moving image looks reversed along y, as the preset sees it" in concern.text
    assert concern.verdict == result.verdict == "failed"
    network.relies_on_network = False
    result = register_pair(network, fixed=turned, moving=moving)
    (concern,) = [concern for concern in result.concerns if concern.name == "reversed"]
    assert "The fixed image" in concern.text and concern.verdict == "look at it"


def test_images_of_noise_have_nothing_in_common():
    """Large ones: the mutual information of few voxels is never as low."""
    rng = np.random.default_rng(0)
    fixed, moving = (Image(rng.random((256, 256)).astype(np.float32), Grid((256, 256), (1.0, 1.0))) for _ in range(2))

    class Shift:
        name = "shift"

        def register(self, fixed, moving):
            return Transform(fixed.grid, moving.grid, (Affine(np.array([[1, 0, 2], [0, 1, 0], [0, 0, 1.0]])),))

    (concern,) = register_pair(Shift(), fixed=fixed, moving=moving).concerns
    assert concern.name == "similarity" and "nothing in common" in concern.text


def test_a_result_far_below_the_usual_is_a_failure(pair):
    fixed, moving = pair
    method = Given(smooth(9, 1))
    ncc = register_pair(method, fixed=fixed, moving=moving).after.ncc
    for factor, expected in ((1.1, "look at it"), (2.1, "failed")):
        method.usual = Usual(data="chests, train", pairs=9, ncc=factor * ncc, nmi=1.9, folded_percent=0)
        result = register_pair(method, fixed=fixed, moving=moving)
        assert {concern.name: concern.verdict for concern in result.concerns}["unusual"] == expected


def test_the_verdict_is_that_of_the_worst_concern(pair):
    look, bad = Concern("similarity", ""), Concern("overlap", "", "failed")
    assert [verdict(found) for found in ([], [look], [look, bad], [bad, look])] == [
        "ok",
        "look at it",
        "failed",
        "failed",
    ]
    fixed, moving = pair
    flat = Image(np.full(SHAPE, 7.0), fixed.grid)
    verdicts = [
        register_pair(method, fixed=fixed, moving=other).verdict
        for method, other in (
            (Given(smooth(4)), moving),
            (Given(smooth(9, 1)), moving),
            (Given((0.0, 0.0)), moving),
            (Given((500.0, 0.0)), moving),
            (Given((1.0, 0.0)), flat),
            (Unregistered(), moving),
        )
    ]
    assert verdicts == ["ok", "look at it", "look at it", "failed", "failed", None]


def test_texts_are_sentences_with_numbers_in_a_fixed_order(pair):
    result = register_pair(Given((50.0, 0.0)), fixed=pair[0], moving=pair[1])
    names = [concern.name for concern in result.concerns]
    assert names == [name for name in NAMES if name in names]
    texts = " ".join(concern.text for concern in result.concerns)
    for text in ("less alike than before, with aligned extents (NCC", "hardly overlap", "% of the fixed"):
        assert text in texts


@pytest.mark.parametrize("change", [{"ncc": "high"}, {"ncc": float("nan")}, {"more": 1}, None])
def test_a_damaged_usual_file_is_refused(tmp_path, change):
    assert Usual.of_preset(tmp_path) is None
    good = {"data": "x, train", "pairs": 9, "ncc": 0.5, "nmi": 1.1, "folded_percent": 2.0}
    (tmp_path / "usual.json").write_text(json.dumps(good), encoding="utf-8")
    assert Usual.of_preset(tmp_path) == Usual(**good)
    (tmp_path / "usual.json").write_text("{" if change is None else json.dumps(good | change), encoding="utf-8")
    with pytest.raises(AcregError, match=r"usual.json has data, pairs, ncc.*Received: .*usual.json"):
        Usual.of_preset(tmp_path)
