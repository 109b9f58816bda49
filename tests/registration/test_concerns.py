"""What speaks against a result, and that nothing speaks against a good one."""

import json

import numpy as np
import pytest
from scipy import ndimage

from acreg.data.phantoms.chests import chest_phantom
from acreg.errors import AcregError
from acreg.geometry import Affine, Displacement, Grid, Transform
from acreg.io import Image
from acreg.registration.concerns import NAMES, Usual, concerns
from acreg.registration.methods import Unregistered
from acreg.registration.pair import register_pair

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


def test_texts_are_sentences_with_numbers_in_a_fixed_order(pair):
    result = register_pair(Given((50.0, 0.0)), fixed=pair[0], moving=pair[1])
    names = [concern.name for concern in result.concerns]
    assert names == [name for name in NAMES if name in names]
    texts = " ".join(concern.text for concern in result.concerns)
    assert "less alike than before (NCC" in texts and "hardly overlap" in texts and "% of the fixed" in texts


@pytest.mark.parametrize("change", [{"ncc": "high"}, {"ncc": float("nan")}, {"more": 1}, None])
def test_a_damaged_usual_file_is_refused(tmp_path, change):
    assert Usual.of_preset(tmp_path) is None
    good = {"data": "x, train", "pairs": 9, "ncc": 0.5, "nmi": 1.1, "folded_percent": 2.0}
    (tmp_path / "usual.json").write_text(json.dumps(good), encoding="utf-8")
    assert Usual.of_preset(tmp_path) == Usual(**good)
    (tmp_path / "usual.json").write_text("{" if change is None else json.dumps(good | change), encoding="utf-8")
    with pytest.raises(AcregError, match=r"usual.json has data, pairs, ncc.*Received: .*usual.json"):
        Usual.of_preset(tmp_path)
