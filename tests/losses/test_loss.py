"""A loss as an object: what it needs, its arguments, and how it is chosen by name."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from acreg import losses
from acreg.losses import LOSSES, Loss, bending, choose_losses, local_ncc, ncc


@keras.saving.register_keras_serializable("test_loss")
def edges(fixed: Any, warped: Any, power: float = 2.0, *, step: int = 1) -> Any:
    slopes = [x[:, step:] - x[:, :-step] for x in (fixed, warped)]
    return ops.mean(ops.abs(slopes[0] - slopes[1]) ** power, axis=(1, 2, 3))


@keras.saving.register_keras_serializable("test_loss")
class NoFunction:
    def get_config(self) -> dict[str, Any]:
        return {}


def nothing(power: float = 1.0) -> float:
    return power


def choose(losses: Any) -> tuple[dict[str, Loss], dict[str, float]]:
    return choose_losses(losses, LOSSES, "AnyNet")


def test_a_loss_is_its_function_with_other_arguments() -> None:
    fixed, warped = np.random.default_rng(0).random((2, 2, 16, 16, 1), np.float32)
    narrow = LOSSES["local_ncc"].changed({"window": 3})
    np.testing.assert_array_equal(narrow(fixed, warped), local_ncc(fixed, warped, window=3))
    np.testing.assert_array_equal(LOSSES["local_ncc"](fixed, warped), local_ncc(fixed, warped))
    assert np.abs(np.asarray(narrow(fixed, warped)) - local_ncc(fixed, warped)).min() > 1e-4


def test_a_recipe_sets_the_spacing_of_a_regulariser() -> None:
    field = np.random.default_rng(0).random((1, 5, 6, 7, 3), np.float32)
    chosen = choose({"bending": {"weight": 1, "spacing": [8, 1.25, 1.25]}})[0]["bending"]
    np.testing.assert_array_equal(chosen(field), bending(field, spacing=(8.0, 1.25, 1.25)))
    assert abs(float(chosen(field)[0]) - float(bending(field)[0])) > 1e-2


def test_parameters_without_a_default_are_what_a_function_needs() -> None:
    loss = Loss.of(edges)
    assert (loss.name, loss.needs, loss.function) == ("test_loss>edges", ("fixed", "warped"), edges)
    assert not loss.compares_labels and LOSSES["soft_dice"].compares_labels


def test_losses_are_chosen_by_name_function_or_object() -> None:
    wide = Loss("wide", ("fixed", "warped"), local_ncc, {"window": 15})
    losses, weights = choose({"ncc": 1, "test_loss>edges": {"weight": 2, "power": 1.0, "step": 2}, wide: 0.5})
    assert weights == {"ncc": 1.0, "test_loss>edges": 2.0, "wide": 0.5}
    assert losses["ncc"] is LOSSES["ncc"] and losses["wide"] is wide
    assert losses["test_loss>edges"].arguments == {"power": 1.0, "step": 2}
    assert choose({edges: 1})[0]["test_loss>edges"].function is edges
    assert choose({ncc: 1})[0]["ncc"] is LOSSES["ncc"]


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"nc": 1}, r"A loss of AnyNet must be one of \['ncc', .*Received: 'nc'"),
        ({"other>edges": 1}, r"'mypackage>edges', whose package has been imported. Received: 'other>edges'"),
        ({"test_loss>NoFunction": 1}, "Received: 'test_loss>NoFunction'"),
        ({"local_ncc": {"weight": 1, "windows": 7}}, r"'local_ncc' must be one of \['window', 'epsilon'\].*windows=7"),
        ({"test_loss>edges": {"weight": 1, "p": 7}}, r"'test_loss>edges' must be one of \['power', 'step'\].*p=7"),
        ({"diffusion": {"weight": 1, "order": 2}}, r"'diffusion' must be one of \['spacing'\]. Received: order=2"),
        ({"squared_ncc": {"weight": 1, "p": 2}}, "'squared_ncc' must be one of none: it has none. Received: p=2"),
        ({"local_ncc": {"weight": 1, "window": 7.5}}, "'window' of the loss 'local_ncc' must be a whole number.*7.5"),
        ({"local_ncc": {"weight": 1, "epsilon": "small"}}, "'epsilon' of the loss 'local_ncc' must be a number"),
        ({"local_ncc": {"window": 7}}, r"needs its `weight` beside them. Received: local_ncc=\{'window': 7\}"),
        ({"ncc": "much"}, "weight of a loss must be finite and not negative. Received: ncc=much"),
        ({Loss("ncc", ("fixed", "warped"), ncc): 1}, "a name of its own. Received: 'ncc' twice"),
        ({"test_loss>edges": 1, edges: 1}, "'test_loss>edges' twice"),
        ({lambda fixed, warped: fixed: 1}, "a function with a name, or a `Loss`"),
        ({NoFunction: 1}, "a function with a name, or a `Loss`"),
        ({nothing: 1}, "Received: nothing, which has no such parameter"),
    ],
)
def test_what_is_no_loss_is_refused(losses: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        choose(losses)


def test_each_loss_of_the_tables_is_public_and_each_public_function_is_a_loss() -> None:
    public = {name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))}
    assert public - {"choose_losses"} == set(LOSSES)
    assert all(getattr(losses, name) is loss.function for name, loss in LOSSES.items())
