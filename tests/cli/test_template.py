"""``acreg template`` as a user runs it: on pictures, with a broken file among them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from acreg.applications.groupwise import command as groupwise
from acreg.cli.main import main
from acreg.data.phantoms.chests import chest_phantom
from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import Image, read_image, write_image


def test_a_broken_file_among_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    shape = (40, 32)
    for name, seed in (("b", 1), ("site/a", 2), ("c", 3)):
        write_image(Image(chest_phantom(seed, shape).image, Grid(shape)), images / f"{name}.png")
    (images / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write_image(Image(np.eye(8)[None] + np.ones((8, 8, 8)), Grid((8, 8, 8))), images / "volume.nii.gz")
    command = ["template", "--images", str(images), "--out", str(out), "--linear", "none", "--rounds", "0"]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{out}/template.png\n"
    assert "Warning: a failed and is not in the template." in printed.err and "Warning: volume failed" in printed.err
    record = json.loads((out / "template.json").read_text(encoding="utf-8"))
    assert [each["subject"] for each in record["failures"]] == ["a", "volume"]
    assert [each["subject"] for each in record["subjects"]] == ["b", "c", "site/a"]
    template = read_image(out / "template.png")
    assert template.grid == Grid(shape)
    assert (out / "subjects" / "site" / "a" / "warped.png").is_file()
    warp = ["warp", "--transform", str(out / "subjects/b/transform.h5"), "--reference", str(out / "template.png")]
    assert main([*warp, "--image", str(images / "b.png"), "--out", str(tmp_path / "again.png")]) == 0
    again, warped = (read_image(path).array for path in (tmp_path / "again.png", out / "subjects/b/warped.png"))
    assert np.abs(again - warped).max() <= 1
    assert main(command) == 1, "the failures are still there"
    assert main([*command, "--reference", "a"]) == 2
    assert "goes on with the settings" in capsys.readouterr().err


def test_a_subject_without_an_inverse_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*arguments: object) -> str:
        raise AcregError("An inverse must come back to its start. Received: a map that misses it.")

    monkeypatch.setattr(groupwise, "write_inverse", none)
    for name, seed in (("b", 1), ("c", 3)):
        write_image(Image(chest_phantom(seed, (40, 32)).image, Grid((40, 32))), tmp_path / "images" / f"{name}.png")
    out = tmp_path / "out"
    told = ["template", "--images", str(tmp_path / "images"), "--out", str(out), "--linear", "none", "--rounds", "0"]
    assert main(told) == 0
    said = capsys.readouterr().err
    assert all(f"Warning: {name} has no inverse_transform.h5. An inverse must come back" in said for name in "bc")
    assert not list(out.rglob("inverse_transform.h5")) and len(list(out.rglob("transform.h5"))) == 2
