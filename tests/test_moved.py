"""Old names of modules and functions: they work until version 0.3, with a warning."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from acreg._moved import MOVED


@pytest.mark.parametrize("new", sorted(set(MOVED.values())))
def test_every_new_name_is_that_of_a_module(new: str) -> None:
    assert importlib.util.find_spec(new) is not None


def test_an_old_function_is_the_new_one() -> None:
    copies = importlib.import_module("acreg.data.prepare.copies")
    with pytest.warns(DeprecationWarning, match=r"prepare_volumes is now .*copies\.prepare_copies; the old name"):
        assert copies.prepare_volumes is copies.prepare_copies


def test_an_old_module_is_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match=r"acreg\.data\.pair_files is now acreg\.data\.tables\.pair_files; the"):
        old = importlib.import_module("acreg.data.pair_files")
    assert old is importlib.import_module("acreg.data.tables.pair_files")


@pytest.mark.parametrize(
    ("module", "name", "home"),
    [("pairs", "ImageSampler", "singles"), ("deformed_pairs", "foreground_dice", "deformation")],
)
def test_a_name_that_left_its_module_is_still_found_there(module: str, name: str, home: str) -> None:
    before = importlib.import_module(f"acreg.data.sampling.{module}")
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now acreg\.data\.sampling\.{home}\.{name}"):
        found = getattr(before, name)
    assert found is getattr(importlib.import_module(f"acreg.data.sampling.{home}"), name)
