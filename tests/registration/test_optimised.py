"""Registrations by optimisation as methods with names and options."""

from __future__ import annotations

import numpy as np
import pytest

from acreg.data.phantoms.chests import chest_phantom
from acreg.errors import AcregError, UsageError
from acreg.geometry import Displacement, Grid, Image, Transform
from acreg.optimisation import NAMES, DemonsSettings, Engine, Guides, LogDemons, Settings
from acreg.optimisation.engine import AUTO
from acreg.registration import named_method
from acreg.registration.optimised import Optimised

QUICK = "acreg:deformable[linear=none,discrete=false,steps=12,similarity=local_ncc]"


def test_a_name_makes_an_engine() -> None:
    method = named_method("acreg:multimodal[linear=none,kind=displacement,smoothness=2,steps=9x4,discrete=false]", 1, 5)
    engine = method.engine
    assert (engine.discrete, engine.similarity) == (False, AUTO["two"])
    assert (engine.alignment.linear, engine.alignment.seed) == (None, 5)
    assert engine.continuous == Settings(kind="displacement", smoothness=2, steps=(9, 4))
    plain, whole = Optimised().engine, Engine()
    assert (plain.discrete, plain.similarity) == (whole.discrete, "auto")
    assert plain.alignment.linear == whole.alignment.linear
    assert (plain.continuous, plain.voxels) == (whole.continuous, whole.voxels)
    assert named_method("acreg:deformable[similarity=mind_ssc]", 1, 0).engine.similarity == AUTO["two"]
    assert named_method("acreg:deformable[similarity=ncc]", 1, 0).engine.similarity == "ncc"
    demons = named_method("acreg:lcc-demons[linear=none,window=3,brackets=true,steps=9x4]", 1, 5)
    assert demons.deforms and isinstance(demons.engine, LogDemons) and demons.engine.alignment.linear is None
    assert demons.engine.settings == DemonsSettings(window=3, brackets=True, steps=(9, 4))
    rigid = named_method("acreg:rigid", 1, 0)
    assert (rigid.engine.linear, rigid.deforms) == ("rigid", False)
    assert [named_method(name, 1, 0).name for name in NAMES] == list(NAMES)


@pytest.mark.parametrize(
    "name, found",
    [
        ("acreg:Rigid", "one of unregistered, acreg:translation, .*acreg:multimodal, ants:affine, .*'acreg:Rigid'"),
        ("acreg:rigid[steps=3]", "Received: 'steps=3' for acreg:rigid, whose options are none"),
        (
            "acreg:deformable[linear=no]",
            r"'linear=no' for .* linear=affine\|.*\|none, discrete",
        ),
        ("acreg:deformable[similarity=cc]", r"'similarity=cc' for .* similarity=auto\|ncc\|"),
        ("acreg:deformable[window=6]", "A window has a middle voxel. Received: window=6"),
        ("acreg:lcc-demons[smoothness=1]", "'smoothness=1' for acreg:lcc-demons, .* window=.*, brackets=false, steps="),
        ("acreg:lcc-demons[window=-1]", "a positive number, .* Received: 'window=-1' for"),
        ("acreg:multimodal[kind=spline]", r"similarity=auto\|ncc\|.* kind=velocity\|displacement"),
    ],
)
def test_wrong_names_and_options(name: str, found: str) -> None:
    with pytest.raises(UsageError, match=found):
        named_method(name, 1, 0)


def test_a_linear_registration_starts_from_a_linear_transform() -> None:
    grid = Grid((8, 9))
    image = Image(np.random.default_rng(0).random(grid.shape, np.float32), grid)
    field = Displacement(np.ones((*grid.shape, 2), np.float32), grid)
    with pytest.raises(AcregError, match="Received: acreg:rigid with an initial transform that deforms"):
        guides = Guides(initial=Transform(grid, grid, (field,)))
        Optimised("acreg:rigid").outcome(fixed=image, moving=image, guides=guides)


@pytest.mark.parametrize("name", ["acreg:rigid", "acreg:deformable[linear=none]"])
def test_constant_images_are_refused(name: str) -> None:
    image, constant = (Image(array.astype(np.float32), Grid((9, 8))) for array in (np.eye(9, 8), np.full((9, 8), 3)))
    with pytest.raises(AcregError, match="Received: .*moving.* image.* constant|moving image, which has the value 3"):
        Optimised(name).register(fixed=image, moving=constant)


def test_a_seed_that_is_out_of_range() -> None:
    with pytest.raises(UsageError, match="Received: seed=-1"):
        named_method("acreg:affine", 1, -1)


def test_a_pair_is_registered_and_its_graph_kept() -> None:
    array = chest_phantom(1, (48, 40)).image
    fixed, moving = Image.from_array(array), Image.from_array(np.roll(array, 2, axis=0))
    method, said = Optimised(QUICK), []
    outcome = method.outcome(fixed=fixed, moving=moving, say=said.append)
    assert said and outcome.stages[-1]["stage"] == "continuous" and outcome.contrast in ("one", "two")
    kept = method.engine._stage(AUTO["one"])
    again = method.register(fixed=fixed, moving=moving)
    assert method.engine._stage(AUTO["one"]) is kept
    np.testing.assert_array_equal(again.displacement, outcome.transform.displacement)
    before, after = (np.abs(fixed.array - m.array).mean() for m in (moving, again.warp_image(moving)))
    assert after < before / 2
