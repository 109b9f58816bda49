"""Refinement: the continuous stage of an optimisation, started from the field that a network predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray
from scipy import ndimage

from acreg.geometry import Grid, Image
from acreg.io import Preprocessing
from acreg.losses import FIELD_LOSSES, Loss, bending, diffusion
from acreg.models.refinement import regulariser
from acreg.optimisation import continuous


def images(shape: tuple[int, ...], seed: int = 0) -> dict[str, Image]:
    """Two smooth images that differ, on one grid."""
    noise = np.random.default_rng(seed).standard_normal((2, *shape))
    smooth = ndimage.gaussian_filter(noise, (0, *(3,) * len(shape)))
    return {role: Image(x.astype(np.float32), Grid(shape)) for role, x in zip(("fixed", "moving"), smooth, strict=True)}


@pytest.mark.parametrize("kind", ["dirnet", "jrsnet", "affine-deformable-3d-velocity"])
def test_without_steps_it_is_the_prediction(make_model: Any, kind: str) -> None:
    model = make_model(kind)
    shape = (18, 21, 15)[: model.rank]  # no multiples of what the networks need
    model.preprocessing = Preprocessing(shape=shape)
    pair = images(shape)
    predicted, refined = model.register(**pair), model.refine(**pair, steps=0, folding_limit=0.0)
    assert [type(part) for part in refined.maps] == [type(part) for part in predicted.maps]
    np.testing.assert_allclose(refined.displacement, predicted.displacement, atol=1e-4)


def test_a_field_that_folds_more_than_allowed_is_smoothed(make_model: Any) -> None:
    model = make_model("pyramid-velocity")
    model.preprocessing = Preprocessing(shape=(24, 20))
    pair = images((24, 20))
    rough: dict[str, Any] = {"steps": 10, "losses": {"mean_squared_error": 1.0}, "anchor": 0.0, "learning_rate": 2.0}
    predicted = model.register(**pair).folding()["folded_percent"]
    free = model.refine(**pair, **rough, folding_limit=100.0).folding()["folded_percent"]
    held = model.refine(**pair, **rough, folding_limit=0.5).folding()["folded_percent"]
    assert held <= predicted + 0.5 < free


def test_graphs_serve_further_pairs(make_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[int] = []
    original = continuous.value_and_gradient

    def counted(function: Callable[..., Any], any_size: bool) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            traced.append(1)
            return function(*arguments)

        return original(noted, any_size)

    monkeypatch.setattr(continuous, "value_and_gradient", counted)
    model = make_model("pyramid-velocity")
    first, second = (model.refine(**images((16, 16), seed), steps=2).displacement for seed in (0, 1))
    assert len(traced) == 1 and np.abs(first - second).max() > 1e-3


def field() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(1, 5, 6, 7, 3)).astype(np.float32)


def test_a_weight_keeps_its_meaning_on_cubes_and_slices_are_no_stiffer() -> None:
    for loss in FIELD_LOSSES.values():
        on_cubes = regulariser(loss, 0.5)(field(), ops.convert_to_tensor([3.0, 3.0, 3.0]))
        assert float(on_cubes) == pytest.approx(0.5 * float(loss(field())[0]), rel=1e-5)
    slices = (8.0, 1.25, 1.25)
    thick = regulariser(FIELD_LOSSES["diffusion"], 0.5)(field(), ops.convert_to_tensor(slices))
    assert float(thick) == pytest.approx(0.5 * float(diffusion(field(), spacing=slices)[0]), rel=1e-5)


def test_a_spacing_that_is_given_and_a_loss_of_ones_own_stay() -> None:
    given = Loss("bending", ("field",), bending, {"spacing": (2.0, 2.0, 2.0)})
    own = Loss("size", ("field",), lambda field: ops.mean(ops.square(field)))
    for loss in (given, own):
        value = regulariser(loss, 1.0)(field(), ops.convert_to_tensor([8.0, 1.0, 1.0]))
        assert float(value) == pytest.approx(float(np.mean(loss(field()))), rel=1e-5)


def test_a_loss_of_images_and_fields_at_once_is_refused(make_model: Any) -> None:
    def both(fixed: Any, field: Any) -> Any:
        return ops.mean(fixed) * ops.mean(field)

    with pytest.raises(ValueError, match=r"of images and fields.*Received: \['both'\]"):
        make_model("pyramid").refine(**images((16, 16)), losses={both: 1.0})
