"""The comments of a recipe's keys, from docstrings."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from acreg.data.sampling.augmentation import Augmentation
from acreg.models.arguments import constructor_types
from acreg.training import schema
from acreg.training.build import FILLED_IN, model_classes
from acreg.training.commented import described_arguments


class Base:
    """One sentence.

    Args:
        first: a number.
        second (`other` in the file): a text that
            goes on.

            After an empty line, too.

    Returns:
        nothing: this is no argument.
    """


class Derived(Base):
    """Another one.

    Arguments:
        first: a number, but smaller.
        gamma, noise: see `acreg.data.Augmentation`, if needed.
        third: see `first`.
    """


def test_arguments_are_those_of_the_docstrings_of_a_class_and_its_bases() -> None:
    found = described_arguments(Derived)
    assert found["first"] == "a number, but smaller."
    assert " ".join(found["second"].split()) == "a text that goes on. After an empty line, too."
    assert found["gamma"] == "raises the image to the power exp(g), with g uniform in [-gamma, gamma]."
    assert found["noise"] == described_arguments(Augmentation)["noise"]
    assert found["third"] == "see `first`."
    assert set(found) == {"first", "second", "gamma", "noise", "third"}


SECTIONS = [
    value
    for value in vars(schema).values()
    if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == schema.__name__
]


@pytest.mark.parametrize("section", [*SECTIONS, Augmentation, schema.RandomDeformation])
def test_each_key_of_a_recipe_is_described(section: type[BaseModel]) -> None:
    described = described_arguments(section)
    missing = [name for name in section.model_fields if not described.get(name)]
    assert missing == []


@pytest.mark.parametrize("name", sorted(model_classes()))
def test_each_argument_of_a_model_is_described(name: str) -> None:
    model = model_classes()[name]
    described = described_arguments(model)
    missing = [key for key in constructor_types(model) if key not in FILLED_IN and not described.get(key)]
    assert missing == []
