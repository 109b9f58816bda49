from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from acreg.baselines import baseline
from acreg.baselines.capture import captured
from acreg.errors import AcregError, UsageError
from acreg.io import Image


@pytest.mark.parametrize(
    "arguments, found",
    [
        (("ants:Syn",), "one of ants:affine.*Received: 'ants:Syn'"),
        (("sitk:affine", 0), "Received: threads=0, seed=0"),
        (("sitk:affine", 1, -1), "Received: threads=1, seed=-1"),
    ],
)
def test_wrong_use(arguments, found):
    with pytest.raises(UsageError, match=found):
        baseline(*arguments)


@pytest.mark.parametrize(
    "name, module, package",
    [
        ("ants:SyN", "ants", "antspyx"),
        ("elastix:bspline", "itk", "itk-elastix"),
        ("greedy:svf", "picsl_greedy", "picsl-greedy"),
    ],
)
def test_a_missing_package_is_named_with_what_to_run(monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AcregError, match=f"{name} needs the package {package}.*pip install {package}"):
        baseline(name)


def test_settings_say_what_a_result_depends_on():
    import SimpleITK

    settings = baseline("sitk:demons", threads=2, seed=5).settings
    assert settings["tool"] == "SimpleITK" and settings["version"] == SimpleITK.__version__
    assert settings["threads"] == 2 and settings["seed"] == 5
    assert settings["parameters"]["filter"] == "DemonsRegistrationFilter"


def test_a_failure_is_one_message_about_the_pair(capfd):
    blank = Image.from_array(np.zeros((30, 30)), name="blank.png")
    with pytest.raises(AcregError, match="(?s)^A registration ends.*sitk:affine for blank.png and blank.png.*Runtime"):
        baseline("sitk:affine").register(blank, blank)
    assert capfd.readouterr() == ("", "")


def test_a_slice_is_not_registered_to_a_volume():
    images = Image.from_array(np.ones((9, 9)), name="slice"), Image.from_array(np.ones((9, 9, 9)), name="volume")
    with pytest.raises(AcregError, match="slice with 2, volume with 3"):
        baseline("sitk:affine").register(*images)


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
