from __future__ import annotations

import errno
import json

import numpy as np
import PIL.Image
import pytest
from PIL import Image as Picture

from acreg.cli.main import main


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / "JSRT"
    for i in range(1, 6):
        for what in ("images", "labels"):
            array = rng.integers(0, 255, (16, 16)) if what == "images" else np.arange(256).reshape(16, 16) // 64
            path = root / "LR_16" / what / f"JPCLN{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(array.astype(np.uint8)).save(path)
    return root


def _prepare(source, out, *more):
    arguments = ["--source", str(source), "--out", str(out), "--size", "16", *more]
    return main(["--quiet", "data", "prepare", "jsrt", *arguments])


def test_prepare_then_check(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert _prepare(source, out) == 0
    assert "5 subjects (3 train, 1 validation, 1 test)" in capsys.readouterr().out
    assert main(["data", "check", str(out)]) == 0
    assert "Nothing is wrong." in capsys.readouterr().out


def test_check_finds_a_dataset_by_name(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ACREG_DATA", str(tmp_path / "root"))
    assert _prepare(source, tmp_path / "root" / "lungs") == 0
    assert main(["data", "check", "lungs"]) == 0


def test_check_prints_a_line_per_finding_and_returns_1(source, tmp_path, capsys):
    out = tmp_path / "out"
    _prepare(source, out)
    (out / "images" / "JPCLN001.png").write_bytes(b"")
    (out / "labels" / "JPCLN002.png").unlink()
    capsys.readouterr()
    assert main(["data", "check", str(out)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].strip() for line in lines if line.startswith("error")] == ["JPCLN001", "JPCLN002"]
    assert lines[-1] == "2 errors, 0 warnings."
    assert main(["data", "check", str(out), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [f["where"] for f in found["findings"]] == ["JPCLN001", "JPCLN002"]
    assert found["subjects"] == {"train": 3, "validation": 1, "test": 1}
    (note,) = found["notes"]
    assert f"note: {note}" in lines


def test_warnings_alone_return_0(source, tmp_path, capsys):
    out = tmp_path / "out"
    _prepare(source, out)
    PIL.Image.fromarray(np.zeros((16, 16), np.uint8)).save(out / "labels" / "JPCLN001.png")
    assert main(["data", "check", str(out)]) == 0
    assert "0 errors, 1 warnings." in capsys.readouterr().out


def test_a_full_disk_is_one_paragraph(source, tmp_path, capsys, monkeypatch):
    def full(image, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("acreg.data.prepare.pictures.write_image", full)
    assert _prepare(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "disk" in error or "space" in error
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_own_folder(source, tmp_path, capsys):
    assert main(["data", "prepare", "folder", "--source", str(source / "LR_16")]) == 0
    assert (source / "LR_16" / "manifest.csv").is_file()
    assert main(["data", "check", str(source / "LR_16")]) == 0


def test_resampled_copies_of_an_own_folder(source, tmp_path, capsys):
    (tmp_path / "table.csv").write_text("label,merged,name\n255,1,lungs\n")
    arguments = ["folder", "--source", str(source / "LR_16"), "--out", str(tmp_path / "out"), "--spacing", "2"]
    assert main(["data", "prepare", *arguments, "--merge", str(tmp_path / "table.csv"), "--crop", "1"]) == 1
    assert "Add a line for each label" in " ".join(capsys.readouterr().err.split())
    assert main(["data", "prepare", *arguments]) == 0
    assert "spacing 2 x 2 px" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "labels").glob("*.h5"))) == 5
    assert main(["data", "check", str(tmp_path / "out")]) == 0


def test_aligned_copies_of_an_own_folder(source, tmp_path, capsys):
    (tmp_path / "table.csv").write_text("label,merged,name\n0,0,background\n1,1,one\n2,2,two\n3,3,three\n")
    arguments = ["folder", "--source", str(source / "LR_16"), "--out", str(tmp_path / "out"), "--align", "JPCLN002"]
    assert main(["data", "prepare", *arguments, "--size", "18,16", "--merge", str(tmp_path / "table.csv")]) == 0
    printed = capsys.readouterr()
    assert "aligned to JPCLN002: mean Dice with it 1.0" in printed.out and "spacing 1 x 1 px" in printed.out
    assert "JPCLN001" in printed.err and "reach the edge" in printed.err
    assert main(["data", "check", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["jrst", "--source", ".", "--out", "x"], 2, "Did you mean jsrt"),
        (["jsrt", "--source", "."], 2, "Add --out"),
        (["jsrt", "--source", "nowhere", "--out", "x"], 1, "must be a folder"),
        (["folder", "--source", ".", "--size", "64"], 2, "Leave these out"),
        (["folder", "--source", ".", "--margin", "5"], 2, "Leave these out"),
        (["folder", "--source", ".", "--spacing", "1"], 2, "Add --out"),
        (["folder", "--source", ".", "--out", "x", "--spacing", "1mm"], 2, "Received: --spacing 1mm"),
        (["folder", "--source", ".", "--out", "x", "--spacing", "nan"], 2, "spacing=nan"),
        (["folder", "--source", ".", "--out", "x", "--merge", "dlmuse"], 2, "one of dlmuse-16"),
        (["folder", "--source", "nowhere", "--out", "x", "--spacing", "1"], 1, "must be a folder"),
        (["jsrt", "--source", ".", "--out", "x", "--spacing", "1"], 2, "are for `folder`"),
        (["jsrt", "--out", "x"], 2, "--source"),
        (["jsrt", "--source", ".", "--out", "x", "--size", "64,64"], 2, "whole number of voxels"),
        (["jsrt", "--source", ".", "--out", "x", "--align", "auto"], 2, "are for `folder`"),
        (["folder", "--source", ".", "--align", "auto"], 2, "Add --out"),
        (["folder", "--source", ".", "--out", "x", "--align", "auto", "--size", "big"], 2, "Received: --size big"),
        (["folder", "--source", ".", "--out", "x", "--align", "a", "--crop", "1"], 2, "Give --size instead"),
    ],
)
def test_wrong_use(arguments, code, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "prepare", *arguments]) == code
    assert message in " ".join(capsys.readouterr().err.split())


def test_phantoms_are_a_dataset_that_nothing_is_written_over(tmp_path, capsys):
    arguments = ["data", "phantoms", "chest", "--out", str(tmp_path / "made"), "--subjects", "10"]
    assert main([*arguments, "--seed", "3"]) == 0
    assert "phantoms: 10 subjects (6 train, 2 validation, 2 test)" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "made")]) == 0
    assert main(arguments) == 2
    assert "Choose a new or empty folder" in " ".join(capsys.readouterr().err.split())
    assert main(["data", "phantoms", "knee", "--out", str(tmp_path / "knee")]) == 2
    assert main(["data", "phantoms", "heart", "--out", str(tmp_path / "few"), "--subjects", "9"]) == 2


def test_check_of_nothing(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "manifest.csv" in capsys.readouterr().err


def test_synthesized_pairs_are_evaluated_against_their_truth(tmp_path, capsys):
    from acreg.data.phantoms.chests import make_dataset

    make_dataset(tmp_path / "data", subjects=10, shape=(40, 32), seed=0)
    limits = ["--max-rotation", "0", "--max-translation", "4", "--max-deformation", "0", "--gamma", "0"]
    made = ["data", "synthesize", str(tmp_path / "data"), "--out", str(tmp_path / "pairs"), "--count", "3", *limits]
    assert main(made) == 0
    printed = capsys.readouterr()
    assert "3 pairs (test)" in printed.out and "doubtful" not in printed.err
    assert main(["evaluate", "--data", str(tmp_path / "pairs"), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert f"3 pairs of {tmp_path / 'pairs' / 'pairs.csv'}" in printed.err and "3 with a true transform" in printed.err
    assert "True TRE (mm)" in printed.out
    pairs = str(tmp_path / "out" / "pairs_used.csv")
    assert main(["evaluate", "--data", str(tmp_path / "pairs"), "--pairs", pairs, "--out", str(tmp_path / "two")]) == 0
    found = [
        json.loads((tmp_path / name / "unregistered" / "summary.json").read_text(encoding="utf-8"))
        for name in ("out", "two")
    ]
    assert found[0]["metrics"]["tre_true"] == found[1]["metrics"]["tre_true"]
    assert 0 < found[0]["metrics"]["tre_true"]["mean"] < 4 and found[0]["settings"]["pairs"].endswith("pairs.csv")
    capsys.readouterr()
    assert main(["evaluate", "--data", str(tmp_path / "pairs"), "--pairs", "2", "--out", str(tmp_path / "drawn")]) == 0
    assert "True TRE" not in capsys.readouterr().out


def test_wrong_limits_of_a_synthesis_exit_with_2(source, tmp_path, capsys):
    _prepare(source, tmp_path / "out")
    arguments = ["data", "synthesize", str(tmp_path / "out"), "--out", str(tmp_path / "pairs")]
    assert main([*arguments, "--control-points", "2"]) == 2
    assert "control_points" in capsys.readouterr().err and not (tmp_path / "pairs").exists()


def test_pairs_of_known_deformation(tmp_path, capsys):
    from acreg.data.phantoms.chests import make_dataset

    make_dataset(tmp_path / "data", subjects=10, shape=(40, 32), seed=0)
    made = ["data", "synthesize", str(tmp_path / "data"), "--out", str(tmp_path / "pairs")]
    for wrong, reason in (
        (["--rotation", "20,60"], "Add --deformed"),
        (["--deformed", "--rotation", "5"], "two numbers"),
    ):
        assert main([*made, *wrong]) == 2
        assert reason in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "pairs").exists()
    assert main([*made, "--deformed", "--rotation", "20,60", "--count", "2"]) == 0
    assert "2 pairs (test)" in capsys.readouterr().out
    info = json.loads((tmp_path / "pairs" / "dataset.json").read_text(encoding="utf-8"))
    assert info["preparation"]["rotation"] == [20, 60]
    assert main(["evaluate", "--data", str(tmp_path / "pairs"), "--out", str(tmp_path / "out")]) == 0
    scores = json.loads((tmp_path / "out" / "unregistered" / "summary.json").read_text(encoding="utf-8"))["metrics"]
    assert scores["dsc"]["mean"] < 0.7 and scores["tre_true"]["mean"] > 1


def test_an_image_smaller_than_the_control_grid_is_refused(tmp_path, capsys):
    from acreg.data.phantoms.chests import make_dataset

    make_dataset(tmp_path / "data", subjects=10, shape=(40, 32), seed=0)
    made = ["data", "synthesize", str(tmp_path / "data"), "--out", str(tmp_path / "pairs"), "--control-points", "12"]
    for record in (tmp_path / "data").glob("*/*.png"):
        Picture.open(record).resize((9, 11), 0).save(record)
    assert main(made) == 2
    assert "of shape (11, 9) for control_points=12. Lower" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "pairs" / "manifest.csv").exists()
