from __future__ import annotations

import configparser
import importlib
import os
import pkgutil
import sys
from importlib import metadata

import numpy as np
import pytest

import acreg
from acreg.baselines import TOOLS, baseline
from acreg.baselines.capture import captured
from acreg.baselines.options import read_options, split_name, with_options
from acreg.cli._installation import REQUIRED
from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Displacement, Grid
from acreg.io import Image


@pytest.mark.parametrize(
    "arguments, found",
    [
        (("ants:Syn",), "one of ants:affine.*Received: 'ants:Syn'"),
        (("sitk:demons[smoothing=1", 1), "one of.*Received: 'sitk:demons.smoothing=1'. Correct the name"),
        (("sitk:affine[radius=4]",), "Received: 'radius=4' for sitk:affine, whose options are none"),
        (("sitk:demons[radius=4]",), "'radius=4' for sitk:demons, .* affine=true, iterations=100x50x25, smoothing=1.5"),
        (("sitk:demons[smoothing]",), "Received: 'smoothing' for"),
        (("sitk:demons[smoothing=0]",), "Received: 'smoothing=0' for"),
        (("sitk:demons[smoothing=nan]",), "Received: 'smoothing=nan' for"),
        (("sitk:demons[affine=no]",), "true or false.*Received: 'affine=no' for"),
        (("sitk:demons[iterations=20x0]",), "Received: 'iterations=20x0' for"),
        (("sitk:demons[iterations=9,,iterations=8]",), "Received: '' for"),
        (("sitk:demons[iterations=9,iterations=8]",), "each of its options once.*Received: 'iterations=8' for"),
        (("greedy:svf[radius=2.5]",), "Received: 'radius=2.5' for greedy:svf, .*update_smoothing=1.7, smoothing=0.7"),
        (("sitk:affine", 0), "Received: threads=0, seed=0"),
        (("sitk:affine", 1, -1), "Received: threads=1, seed=-1"),
    ],
)
def test_wrong_use(arguments, found):
    with pytest.raises(UsageError, match=found):
        baseline(*arguments)


OPTIONAL = [tool for tool in TOOLS.values() if tool.package not in REQUIRED]
"""The programs that acreg does not require."""


@pytest.fixture
def setup(repository):
    parser = configparser.ConfigParser()
    parser.read(repository / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture
def imported(setup):
    """The names of the modules that the contract on imports allows each module of a program to import."""
    lines = setup["importlinter:contract:classical-tools"]["ignore_imports"].strip().splitlines()
    return dict(line.split(" -> ") for line in lines)


@pytest.mark.parametrize("tool", OPTIONAL, ids=lambda tool: tool.name)
def test_a_missing_package_is_named_with_what_to_run(monkeypatch, imported, tool):
    monkeypatch.setitem(sys.modules, imported[tool.home], None)
    name = f"{tool.name}:{tool.kinds[-1]}"
    with pytest.raises(AcregError, match=f"{name} needs the package {tool.package}.*pip install {tool.package}"):
        baseline(name)


def test_every_module_of_a_program_is_in_the_table():
    homes = [f"acreg.baselines.{module.name}" for module in pkgutil.iter_modules(acreg.baselines.__path__)]
    programs = {home for home in homes if hasattr(importlib.import_module(home), "KINDS")}
    assert programs == {tool.home for tool in TOOLS.values()}


def test_setup_names_each_program_that_is_not_required(setup, imported):
    assert set(setup["options.extras_require"]["baselines"].split()) == {tool.package for tool in OPTIONAL}
    assert set(imported) == {tool.home for tool in OPTIONAL}
    forbidden = setup["importlinter:contract:classical-tools"]["forbidden_modules"].split()
    assert set(imported.values()) == set(forbidden)


def test_settings_say_what_a_result_depends_on():
    import SimpleITK

    settings = baseline("sitk:demons", threads=2, seed=5).settings
    assert settings["tool"] == "SimpleITK" and settings["version"] == SimpleITK.__version__
    assert settings["threads"] == 2 and settings["seed"] == 5
    assert settings["parameters"]["filter"] == "DemonsRegistrationFilter"
    assert settings["options"] == {"affine": True, "iterations": (100, 50, 25), "smoothing": 1.5}


def test_options_in_the_name_take_the_place_of_defaults():
    name = "sitk:demons[ iterations=20x10, affine=false]"
    chosen = baseline(name)
    assert chosen.name == chosen.settings["method"] == name
    assert chosen.settings["options"] == {"affine": False, "iterations": (20, 10), "smoothing": 1.5}
    assert baseline("sitk:demons[]").settings["options"] == baseline("sitk:demons").settings["options"]


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_the_table_has_the_kinds_of_each_module(tool):
    assert tool.kinds == tuple(tool.module.KINDS)
    assert set(tool.module.OPTIONS) <= set(tool.kinds) and set(tool.without_affine) <= set(tool.kinds)


@pytest.mark.parametrize("tool, kind", [(tool.module, kind) for tool in TOOLS.values() for kind in tool.module.OPTIONS])
def test_every_default_is_read_as_it_is_written(tool, kind):
    assert kind in tool.KINDS
    for defaults in (tool.OPTIONS[kind], {name: _changed(value) for name, value in tool.OPTIONS[kind].items()}):
        method, text = split_name(with_options("tool:kind", defaults))
        assert method == "tool:kind" and read_options(method, text, tool.OPTIONS[kind]) == defaults


def _changed(value):
    return not value if isinstance(value, bool) else value * 3


def test_a_failure_is_one_message_about_the_pair(capfd):
    thin = Image.from_array(np.eye(2, 30), name="thin.png")
    with pytest.raises(AcregError, match="(?s)^A registration ends.*sitk:demons for thin.png and thin.png.*Runtime"):
        baseline("sitk:demons").register(fixed=thin, moving=thin)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "maps, found",
    [
        (lambda grid: [shift(500.0)], "an affine stage that left the moving image: they overlap by 0 %"),
        (lambda grid: [field(grid, 3.0), shift(500.0)], "an affine stage that left the moving image"),
        (lambda grid: [field(grid, 500.0)], "a result that left the moving image"),
        (lambda grid: [field(grid, 500.0), shift(1.0)], "a result that left the moving image"),
        (lambda grid: [field(grid, 0.0), shift(1.0)], "a deformation of zero everywhere, between images that differ"),
        (lambda grid: [field(grid, np.nan)], "AcregError: .*finite"),
        (lambda grid: [stretch(-1.0, 1.0)], "an affine stage that mirrors the image: its stretches are 1, 1"),
        (lambda grid: [stretch(0.05, 1.0)], "an affine stage that flattens the image: its stretches are 1, 0.05"),
        (lambda grid: [field(grid, 1.0), stretch(1.0, -2.0)], "an affine stage that mirrors the image"),
    ],
)
def test_what_a_tool_returns_after_it_diverged_is_a_failure(monkeypatch, maps, found):
    """No tool's optimiser raises by itself where no sample lies in the moving image any more."""
    images = [Image.from_array(np.random.default_rng(n).random((30, 24)), name=f"{n}.png") for n in range(2)]
    for tool in TOOLS.values():
        monkeypatch.setattr(tool.module, "load", lambda: None)
        monkeypatch.setattr(tool.module, "register", lambda kind, fixed, *more: maps(fixed.grid))
    monkeypatch.setattr(metadata, "version", lambda package: "0")
    for name in ("sitk:bspline", "ants:SyN", "elastix:bspline", "greedy:svf"):
        with pytest.raises(AcregError, match=f"(?s)^A registration ends.*{name} for 0.png and 1.png.*{found}"):
            baseline(name).register(fixed=images[0], moving=images[1])


def test_a_field_of_zero_is_right_for_one_image(monkeypatch):
    image = Image.from_array(np.random.default_rng(0).random((30, 24)))
    monkeypatch.setattr(TOOLS["sitk"].module, "register", lambda kind, fixed, *more: [field(fixed.grid, 0.0)])
    brighter = Image.from_array(2 * image.array + 1)
    for other in (image, brighter):
        assert not baseline("sitk:demons").register(fixed=image, moving=other).displacement.any()


def test_demons_of_images_that_lie_apart_fail(capfd):
    """They moved voxels by 34 of 500 and said nothing."""
    arrays = [np.exp(-np.hypot(*np.indices((30, 30)) - 15 - n) / 5) for n in range(2)]
    images = Image.from_array(arrays[0]), Image(arrays[1], Grid((30, 30), (1.0, 1.0), (500.0, 500.0)))
    with pytest.raises(AcregError, match="images that lie apart in space: they overlap by 0 %"):
        baseline("sitk:demons[affine=false]").register(fixed=images[0], moving=images[1])


def stretch(*factors):
    """A stretch about the middle of 30 x 24 pixels."""
    matrix = np.diag([*factors, 1.0])
    matrix[:2, 2] = (1 - np.array(factors)) * (14.5, 11.5)
    return Affine(matrix)


def shift(by):
    return Affine(np.array([[1, 0, by], [0, 1, 0], [0, 0, 1.0]]))


def field(grid, by):
    return Displacement(np.full((*grid.shape, 2), by, np.float32), grid)


def test_an_image_of_one_value_is_refused_and_named():
    flat, shown = Image.from_array(np.full((9, 9), 7.0), name="flat.png"), Image.from_array(np.eye(9), name="eye.png")
    for images, role in (((flat, shown), "fixed"), ((shown, flat), "moving")):
        with pytest.raises(AcregError, match=f"show something. Received: flat.png, the {role} image, .* value 7 every"):
            baseline("sitk:demons[affine=false]").register(fixed=images[0], moving=images[1])


def test_a_slice_is_not_registered_to_a_volume():
    images = Image.from_array(np.ones((9, 9)), name="slice"), Image.from_array(np.ones((9, 9, 9)), name="volume")
    with pytest.raises(AcregError, match="slice with 2, volume with 3"):
        baseline("sitk:affine").register(fixed=images[0], moving=images[1])


def test_what_goes_past_python_is_captured_and_afterwards_no_more(capfd):
    kept: list[str] = []
    with pytest.raises(KeyError), captured(kept):
        print("from Python")
        os.write(1, b"from below\n\n")
        print("an error", file=sys.stderr)
        raise KeyError
    os.write(1, b"after\n")
    assert sorted(kept) == ["an error", "from Python", "from below"]
    assert capfd.readouterr() == ("after\n", "")
