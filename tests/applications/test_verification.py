"""The checks of `acreg verify` pass here, and notice what is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from acreg import models
from acreg.applications.verification import (
    Check,
    Measured,
    all_checks,
    environment,
    failed,
    files,
    presets,
    references,
    run_checks,
    write_page,
)
from acreg.errors import UsageError
from acreg.geometry import Grid, Image, Transform, Velocity
from acreg.inference import shipped_presets
from acreg.io import Points, write_image, write_points
from acreg.io.formats import FORMATS
from acreg.io.transforms import write_transform
from acreg.layers import functional

SMALL = "jrsnet-montgomery"
"""A preset that is quickly loaded."""


def checks_of(*names: str) -> list[Check]:
    """The checks whose names begin with one of `names`."""
    found = [check for check in all_checks() if check.name.startswith(names)]
    assert found
    return found


def a_check(measure: Callable[[], Measured], name: str = "Warp", limit: float = 0.1) -> Check:
    return Check("Warping", name, "SciPy", "voxels", "voxels", limit, measure)


def test_each_check_has_a_name_of_its_own_and_a_reference() -> None:
    checks = all_checks()
    assert len({check.name for check in checks}) == len(checks) > 100
    assert all(check.reference and check.counted and check.limit >= 0 for check in checks)


def test_all_checks_but_those_of_presets_pass_here() -> None:
    checks = all_checks(quick=True)
    assert {check.section for check in all_checks()} - {check.section for check in checks} == {"Presets that ship"}
    assert {outcome.check.name: outcome.reason for outcome in failed(run_checks(checks))} == {}


def test_a_preset_passes_by_its_stored_values() -> None:
    checks = checks_of("Weights of all presets", "Phantoms", SMALL, "autoencoder-montgomery")
    assert {outcome.check.name: outcome.reason for outcome in failed(run_checks(checks))} == {}


def test_each_preset_that_ships_is_checked() -> None:
    assert sorted(presets.stored()) == shipped_presets()
    assert presets.STORED.stat().st_size < 100_000


@pytest.mark.parametrize(
    ("write", "checked"),
    [
        (lambda path: write_image(Image(np.zeros((4, 4)), Grid((4, 4))), path), files.PROGRAMS),
        (lambda path: write_transform(Transform(Grid((4, 4)), Grid((4, 4))), path), files.TRANSFORMS),
        (lambda path: write_points(Points(np.zeros((1, 2))), path), files.POINTS),
    ],
)
def test_each_format_that_is_written_is_checked(write: Callable[[str], None], checked: Collection[str]) -> None:
    with pytest.raises(UsageError) as refused:
        write("a.none")
    known, _, _ = str(refused.value).partition(" Received")
    assert set(re.findall(r"\.[a-z]\w*(?:\.\w+)?", known)) == set(checked)


def test_each_format_of_images_is_read_by_another_program() -> None:
    """`OTHERS` says which program; "" if there is none."""
    assert set(files.OTHERS) == {known.name for known in FORMATS if known.written}


def shifted_warp(image: Any, displacement: Any, *rest: Any, original: Any = functional.warp) -> Any:
    return original(image, displacement + 0.01, *rest)


def mirrored_warp(self: Transform, image: Image, *rest: Any, original: Any = Transform.warp_image) -> Image:
    return original(self, dataclasses.replace(image, array=np.flip(image.array, 0)), *rest)


def rounded_image(image: Image, path: Path, original: Any = files.write_image) -> None:
    original(dataclasses.replace(image, array=image.array // 2 * 2), path)


BREAKS: dict[str, tuple[Any, str, Any, set[str]]] = {
    "a warp that looks 0.01 voxels beside": (
        functional, "warp", shifted_warp,
        {"Warp layer, linear, 2-D", "Warp layer, rotated anisotropic grid, 3-D"},
    ),
    "a warped image of the mirrored one": (
        Transform, "warp_image", mirrored_warp,
        {"Warped image: displacement, affine map, 3-D", "Where the warped image looks, 2-D",
         "Landmarks moved to the fixed image, 2-D"},
    ),
    "an inverse that is none": (
        Velocity, "inverse", lambda self: self, {"Flow of a velocity, then its inverse, 2-D"},
    ),
    "points in RAS": (
        files, "write_points", lambda points, path, write=files.write_points: write(
            dataclasses.replace(points, positions=points.positions * -1), path
        ), {"Points .csv, 2-D", "Points .mrk.json, 3-D"},
    ),
    "images that lose a bit": (files, "write_image", rounded_image, {"Image .png, intensities", "Image .h5, labels"}),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_broken_is_named(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, broken, noticed = BREAKS[what]
    monkeypatch.setattr(owner, name, broken)
    outcomes = run_checks(checks_of(*noticed, "exp of a constant velocity, 2-D"))
    assert {outcome.check.name for outcome in failed(outcomes)} == noticed
    assert all("the largest difference is" in outcome.reason for outcome in failed(outcomes))


def test_a_preset_with_other_weights_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that differ by one part in a hundred, in a file with a valid checksum of its own."""

    def other(name: str) -> keras.Model:
        model = original(name)
        model.set_weights([1.01 * weight for weight in model.get_weights()])
        return model

    original = models.from_preset
    monkeypatch.setattr(models, "from_preset", other)
    (outcome,) = run_checks(checks_of(SMALL))
    assert not outcome.passed and re.search(r"difference is .* voxels, the limit 0.05", outcome.reason)


def test_weights_of_another_file_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = presets.stored()
    known["svfnet-hearts"][presets.CHECKSUM] = known[SMALL][presets.CHECKSUM]
    monkeypatch.setattr(presets, "stored", lambda: known)
    (outcome,) = run_checks(checks_of("Weights of all presets"))
    assert outcome.reason == "the largest difference is 1 files that differ, the limit 0 (svfnet-hearts)"


def test_the_stored_values_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = presets.stored()[SMALL]
    monkeypatch.setattr(presets, "STORED", tmp_path / "samples.json")
    monkeypatch.setattr(references, "shipped_presets", lambda: [SMALL])
    references.write()
    made = presets.stored()
    assert list(made) == [SMALL] and made[SMALL][presets.CHECKSUM] == before[presets.CHECKSUM]
    for key in (presets.IMAGES, presets.VALUES):
        np.testing.assert_allclose(made[SMALL][key], before[key], rtol=0, atol=0.01)


def test_an_error_is_an_outcome_and_the_next_check_runs(tmp_path: Path) -> None:
    def stops() -> Measured:
        raise OSError(f"no space left for {tmp_path / 'image.png'}\nat all")

    done: list[int] = []
    outcomes = run_checks(
        [
            a_check(stops, "writes"),
            a_check(lambda: Measured(5, float("nan")), "nan"),
            a_check(lambda: Measured(0, 0.0), "nothing"),
            a_check(lambda: Measured(5, 0.1), "passes"),
        ],
        lambda text, number, total: done.append(number),
    )
    assert [outcome.passed for outcome in outcomes] == [False, False, False, True] and done == [1, 2, 3, 4]
    assert outcomes[0].reason.startswith("OSError: no space left for TEMP/") and "\n" not in outcomes[0].reason
    assert [outcome.reason for outcome in outcomes[1:]] == [
        "the largest difference is nan voxels, the limit 0.1",
        "nothing was compared",
        "",
    ]


def test_the_page_says_what_was_found_and_nothing_of_the_machines_names(tmp_path: Path) -> None:
    def stops() -> Measured:
        raise ValueError(f"a|b of <{Path.home() / 'x.png'}>")

    outcomes = run_checks(
        [a_check(lambda: Measured(1234, 0.004321), "Warp, 2-D"), a_check(stops, "Warp, 3-D", limit=1e-5)]
    )
    write_page(tmp_path, outcomes, environment())
    page = (tmp_path / "verification.md").read_text(encoding="utf-8")
    assert "**1 of 2 checks failed**" in page and "- Warp, 3-D: ValueError: a\\|b of \\<HOME/x.png\\>\n" in page
    assert "| Warp, 2-D | SciPy | 1,234 voxels | 0.0043 voxels | 0.1 | passed |" in page
    assert "| Warp, 3-D | SciPy |  | an error | 1e-05 | **failed** |" in page
    for package in ("numpy", "SimpleITK", "keras"):
        assert re.search(rf"\| {package} \| \d+\.", page)
    found = json.loads((tmp_path / "verification.json").read_text(encoding="utf-8"))
    assert found["passed"] is False and found["environment"]["Keras backend"] == keras.backend.backend()
    first, second = found["checks"]
    assert (first["largest_difference"], first["cases"], first["passed"]) == (0.004321, 1234, True)
    assert second["largest_difference"] is None and "HOME/x.png" in second["reason"]
    names_no_folder_of_this_machine(page + json.dumps(found))
    for name in filter(None, (os.environ.get("USER"), os.environ.get("LOGNAME"), socket.gethostname())):
        assert not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", json.dumps(list(found["environment"].values())))


def names_no_folder_of_this_machine(text: str) -> None:
    for folder in {str(Path.home()), tempfile.gettempdir(), "/tmp", "/work", "/home"} - {"/"}:
        assert not re.search(rf"{re.escape(folder)}(?!\w)", text), folder


def test_the_page_of_the_release_has_these_checks_and_all_passed(repository: Path) -> None:
    page = (repository / "docs" / "verification.md").read_text(encoding="utf-8")
    checks = all_checks()
    assert f"**All {len(checks)} checks passed**" in page and "failed" not in page
    rows = [line.split(" | ") for line in page.splitlines() if line.endswith(" | passed |")]
    assert [(row[0].lstrip("| "), row[1], float(row[4])) for row in rows] == [
        (check.name, check.reference, check.limit) for check in checks
    ], "made anew by: acreg verify --out DIR"
    names_no_folder_of_this_machine(page)
