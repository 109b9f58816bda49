from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

from acreg.cli.main import main
from acreg.data.manifest import Dataset
from acreg.data.phantoms.chests import make_dataset
from acreg.geometry import Transform
from acreg.io import read_displacement, read_image
from acreg.registration import methods


class Stub:
    """Stands in for a preset: shifts by as many rows as the preset's name says."""

    def __init__(self, model, name="", refine=0):
        self.preset, self.name, self.rows = model, name or model, int(model[-1])

    def register(self, fixed, moving):
        field = np.zeros((*fixed.grid.shape, 2), np.float32)
        field[..., 0] = self.rows
        return Transform.between_extents(fixed.grid, moving.grid, field)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "PresetMethod", Stub)
    monkeypatch.setattr(methods, "is_segmenter", lambda preset: False)
    make_dataset(tmp_path / "data", subjects=20, shape=(40, 32), seed=0)
    return tmp_path


def evaluate(data, *more, out="out"):
    return main(["evaluate", "--data", str(data / "data"), "--out", str(data / out), *more])


def test_classical_methods_see_the_same_pairs_and_are_recorded(data, capsys):
    more = ["--model", "shift1", "--method", "unregistered", "--method", "sitk:affine", "--pairs", "2", "--seed", "4"]
    more += ["--method", "mine=sitk:demons[iterations=9x5,affine=false]"]
    assert evaluate(data, *more) == 0
    assert {path.name for path in (data / "out").iterdir() if path.is_dir()} == {
        "mine",
        "shift1",
        "sitk_affine",
        "unregistered",
    }
    summary = json.loads((data / "out" / "sitk_affine" / "summary.json").read_text(encoding="utf-8"))
    assert summary["pairs"] == 2 and summary["failed"] == 0 and summary["registers"]
    recorded = summary["settings"]["baseline"]
    assert recorded["method"] == "sitk:affine" and recorded["tool"] == "SimpleITK" and recorded["seed"] == 4
    assert recorded["threads"] == 1 and "Mattes" in recorded["parameters"]["metric"]
    mine = json.loads((data / "out" / "mine" / "summary.json").read_text(encoding="utf-8"))
    assert mine["method"] == "mine" and mine["failed"] == 0
    recorded = mine["settings"]["baseline"]
    assert recorded["method"] == "sitk:demons[iterations=9x5,affine=false]"
    assert recorded["options"] == {"affine": False, "iterations": [9, 5], "smoothing": 1.5}
    other = json.loads((data / "out" / "shift1" / "summary.json").read_text(encoding="utf-8"))
    assert "baseline" not in other["settings"]
    assert "sitk:affine" in capsys.readouterr().out


def test_a_method_that_fails_is_counted_and_the_others_go_on(data, monkeypatch, capsys):
    from acreg.baselines import simpleitk

    def fail(*arguments):
        raise RuntimeError("no overlap")

    monkeypatch.setattr(simpleitk, "register", fail)
    assert evaluate(data, "--method", "sitk:demons", "--pairs", "2") == 0
    summary = json.loads((data / "out" / "sitk_demons" / "summary.json").read_text(encoding="utf-8"))
    assert summary["failed"] == 2
    assert "sitk:demons failed on 2 pairs" in capsys.readouterr().err


def test_2n_pairs_of_the_test_split_for_every_model_and_none(data, capsys):
    assert evaluate(data, "--model", "shift1", "--model", "far=shift4", "--seed", "5") == 0
    with (data / "out" / "pairs_used.csv").open() as stream:
        pairs = [(row["fixed"], row["moving"]) for row in csv.DictReader(stream)]
    assert len(pairs) == 2 * 4
    for name in ("shift1", "far", "unregistered"):
        summary = json.loads((data / "out" / name / "summary.json").read_text(encoding="utf-8"))
        assert summary["pairs"] == 8 and summary["settings"]["seed"] == 5 and summary["settings"]["pairs"] == "2N"
        with (data / "out" / name / "pairs.csv").open() as stream:
            assert list(dict.fromkeys((r["fixed"], r["moving"]) for r in csv.DictReader(stream))) == pairs
    text = capsys.readouterr().out
    assert "DSC" in text and "far" in text and "acreg compare" in text


def test_evaluate_then_compare(data, capsys):
    more = ["--pairs", "6", "--save", "images, labels,displacement,transform"]
    assert evaluate(data, "--model", "shift1", "--model", "shift4", *more) == 0
    assert main(["compare", str(data / "out"), "--worst", "1"]) == 0
    assert {"table.md", "table.csv", "statistics.csv", "report.html"} <= {p.name for p in (data / "out").iterdir()}
    page = (data / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 2 * 2 * 7, "the worst and the best pair of each method"
    assert len((data / "out" / "statistics.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3 * 8
    text = capsys.readouterr().out
    assert "Wilcoxon" in text and "shift1 - unregistered" in text and "**" in text
    folder = next((data / "out" / "shift1").glob("*__*"))
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "warped.png",
        "warped_labels.png",
        "displacement.nii.gz",
        "transform.h5",
        "transform.h5.check.json",
        "inverse_transform.h5",
        "inverse_transform.h5.check.json",
        "preview.png",
    }


def test_saved_images_have_the_background_that_is_asked_for(data):
    """What is measured has edge values all the same."""
    scores = {}
    for out, more in (("zero", []), ("nine", ["--fill", "9"]), ("edge", ["--border", "edge"])):
        more = ["--model", "shift4", "--no-unregistered", "--pairs", "2", "--save", "images", *more]
        assert evaluate(data, *more, out=out) == 0
        summary = json.loads((data / out / "shift4" / "summary.json").read_text(encoding="utf-8"))
        scores[out] = summary["settings"]["border"], summary["settings"]["fill"]
        last = read_image(next((data / out / "shift4").glob("*__*/warped.png"))).array[-4:]
        assert (last == {"zero": 0, "nine": 9}[out]).all() if out != "edge" else (last == last[0]).all() and last.any()
        with (data / out / "shift4" / "pairs.csv").open() as stream:
            scores[out] += tuple(row["ncc"] for row in csv.DictReader(stream))
    assert scores["zero"][:2] == ("constant", 0.0) and scores["nine"][:2] == ("constant", 9.0)
    assert scores["zero"][2:] == scores["nine"][2:] == scores["edge"][2:]


def test_a_pair_without_an_inverse_is_counted(data, capsys, monkeypatch):
    def fold(self, fixed, moving):
        field = np.zeros((*fixed.grid.shape, 2), np.float32)
        field[fixed.grid.shape[0] // 2 :, :, 0] = -3.0
        return Transform.between_extents(fixed.grid, moving.grid, field)

    monkeypatch.setattr(Stub, "register", fold)
    monkeypatch.setattr("acreg.io.transforms.writing.LARGEST_RESIDUAL", -1.0)
    assert evaluate(data, "--model", "fold1", "--pairs", "2", "--save", "transform") == 0
    assert "fold1: no inverse was written for 2 pairs. An inverse is found by iteration" in capsys.readouterr().err
    summary = json.loads((data / "out" / "fold1" / "summary.json").read_text(encoding="utf-8"))
    assert summary["no_inverse"]["pairs"] == 2
    assert not list((data / "out" / "fold1").glob("*/inverse*"))


def test_pairs_within_groups_are_those_of_the_manifest_and_named_so(data, capsys, monkeypatch):
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")  # charts take seconds
    assert evaluate(data, "--method", "unregistered", "--pairs", "within-groups") == 2
    assert "--pairs within-groups for 4 subjects, no two of one group" in capsys.readouterr().err
    dataset = Dataset.load(data / "data")
    names = [record.subject for record in dataset.split("test")]
    grouped = [dataclasses.replace(r, group="p" if r.subject in names[1:] else "") for r in dataset.records]
    dataclasses.replace(dataset, records=grouped).save()
    assert evaluate(data, "--method", "unregistered", "--pairs", "within-groups") == 0
    used = (data / "out" / "pairs_used.csv").read_text(encoding="utf-8").split()
    assert used[1:] == [f"{names[1]},{names[2]}", f"{names[1]},{names[3]}"]
    assert main(["compare", str(data / "out"), "--worst", "0"]) == 0
    assert capsys.readouterr().out.count("phantoms, test, 2 pairs within groups: mean (SD)") == 2
    assert "test split, 2 pairs within groups, 1 methods" in (data / "out" / "report.html").read_text(encoding="utf-8")


def test_compare_refuses_other_pairs_and_names_one(data, capsys):
    assert evaluate(data, "--pairs", "5") == 0
    assert evaluate(data, "--pairs", "5", "--seed", "1", "--model", "shift1", "--no-unregistered", out="other") == 0
    assert main(["compare", str(data / "out"), str(data / "other"), "--out", str(data / "both")]) == 1
    error = capsys.readouterr().err
    assert "only in" in error and "phantom01" in error and not (data / "both").exists()
    pairs = str(data / "out" / "pairs_used.csv")
    assert evaluate(data, "--pairs", pairs, "--model", "shift1", "--overwrite", out="other") == 0
    assert main(["compare", str(data / "out"), str(data / "other" / "shift1"), "--out", str(data / "both")]) == 0
    assert (data / "both" / "report.html").is_file()


def without_labels(data, subjects):
    path = data / "data" / "manifest.csv"
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    at = header.index("labels")
    rows = [row[:at] + [""] + row[at + 1 :] if row[0] in subjects else row for row in rows]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def test_data_without_labels_are_evaluated_and_compared_by_their_images(data, capsys, monkeypatch):
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")
    without_labels(data, [f"phantom0{n}" for n in range(16, 20)])
    assert evaluate(data, "--pairs", "6", "--model", "shift1", "--model", "shift4") == 0
    captured = capsys.readouterr()
    assert "none with labels" in captured.err and "DSC" not in captured.out and "NCC" in captured.out
    assert main(["compare", str(data / "out"), "--worst", "1"]) == 0
    text, page = capsys.readouterr().out, (data / "out" / "report.html").read_text(encoding="utf-8")
    assert "DSC" not in text and "Labels won" not in text and "Wilcoxon" in text
    with (data / "out" / "statistics.csv").open() as stream:
        assert [row["metric"] for row in csv.DictReader(stream)] == ["ncc"] * 3 + ["ssim"] * 3
    assert "Ranks by NCC" in page and "highest NCC" in page and '<section id="labels">' not in page
    assert page.count("<figure>") == 2 * 2 * 6 and "Dice" not in page.split('id="worst"')[0]
    for more, found in (
        (["--label-tests"], "--label-tests for results without"),
        (["--regions", "dkt31-5"], "without"),
    ):
        assert main(["compare", str(data / "out"), *more]) in (1, 2)
        assert found in capsys.readouterr().err


def test_a_report_says_how_many_pairs_have_labels(data, capsys, monkeypatch):
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")
    without_labels(data, ["phantom016"])
    assert evaluate(data, "--pairs", "12", "--model", "shift1") == 0
    captured = capsys.readouterr()
    assert "12 pairs of phantoms (test, 4 subjects), 6 with labels" in captured.err
    assert "12 pairs, 6 with labels" in captured.out and "DSC" in captured.out
    assert main(["compare", str(data / "out"), "--worst", "12"]) == 0
    page = (data / "out" / "report.html").read_text(encoding="utf-8")
    assert "12 pairs (6 of them with labels)" in page and "6 of 12 pairs have labels" in page
    assert "12 pairs, 6 with labels" in capsys.readouterr().out


def test_compare_by_region(data, capsys, monkeypatch):
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")  # charts take seconds
    assert evaluate(data, "--pairs", "4", "--model", "shift4") == 0
    compare = ["compare", str(data / "out"), "--worst", "0", "--regions"]
    capsys.readouterr()
    assert main([*compare, "dkt31-5"]) == 1 and "has none of 1, 2, 3" in capsys.readouterr().err
    assert main([*compare, "lobes"]) == 2 and "one of dkt31-5. Received: lobes" in capsys.readouterr().err
    assert not (data / "out" / "report.html").exists()
    (data / "chest.csv").write_text("label,region\n1,lungs\n2,lungs\n")
    assert main([*compare, str(data / "chest.csv")]) == 0
    text, page = capsys.readouterr().out, (data / "out" / "table.md").read_text(encoding="utf-8")
    assert "| Metric | Method | lungs |" in page and "| Method | DSC | HD |" in page and "Regions of chest" in text
    assert "lungs 2; 1 in no region and left out (heart)" in text and "Labels won" in text
    assert (data / "out" / "regions.csv").read_text(encoding="utf-8").count("chest,lungs,2,dsc") == 2
    assert '<section id="regions">' in (data / "out" / "report.html").read_text(encoding="utf-8")
    assert not (data / "out" / "label_statistics.csv").exists()


def test_compare_tests_each_label_where_asked(data, capsys, monkeypatch):
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")
    assert evaluate(data, "--pairs", "5", "--model", "shift1") == 0
    capsys.readouterr()
    assert main(["compare", str(data / "out"), "--worst", "0", "--test", "welch", "--label-tests"]) == 0
    text = capsys.readouterr().out
    assert "Welch's t-test" in text and "over 1; effect: Hedges' g; share of pairs in which the first" in text
    with (data / "out" / "label_statistics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "lcc"]
    assert [row["label"] for row in rows] == ["left lung", "right lung", "heart"]
    assert {row["test"] for row in rows} == {"welch"} and {row["comparisons"] for row in rows} == {"3"}
    for row in rows:
        assert 0 <= float(row["first_better"]) <= 1 and float(row["low"]) < float(row["high"])
    assert '<section id="label-tests">' in (data / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "more, code, found",
    [
        (["--pairs", "99"], 2, "12 possible"),
        (["--save", "everything"], 2, "everything"),
        (["--split", "exam"], 2, "exam"),
        (["--no-unregistered"], 2, "--model"),
        (["--refine", "5", "--affine-part"], 2, "--refine and --affine-part without --model"),
        (["--method", "unregistered", "--refine", "5"], 2, "--refine without --model"),
        (["--pairs", ""], 2, "an empty word after --pairs"),
        (["--model", "a1", "--model", "x=b1", "--model", "x=c1"], 2, "different names"),
        (["--method", "start=unregistered"], 2, "Leave out start=."),
    ],
)
def test_wrong_use_exits_with_2_and_writes_nothing(data, capsys, more, code, found):
    assert evaluate(data, *more) == code
    assert found in capsys.readouterr().err and not (data / "out").exists()


def test_data_that_is_not_there_exits_with_1(tmp_path, capsys):
    assert main(["evaluate", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "Received" in capsys.readouterr().err
    assert main(["compare", str(tmp_path)]) == 1


def test_a_split_of_one_subject_has_no_pairs(data, capsys):
    manifest = data / "data" / "manifest.csv"
    rows = manifest.read_text().splitlines()
    test = [row for row in rows if row.endswith("test")]
    manifest.write_text("\n".join(row for row in rows if row not in test[1:]))
    assert evaluate(data) == 2
    assert "A pair is of two subjects. Received: a split of 1." in capsys.readouterr().err


def test_what_is_compared_is_a_folder(data, capsys):
    assert main(["compare", str(data / "data" / "manifest.csv")]) == 2
    assert "Results lie in a folder. Received" in capsys.readouterr().err


def test_an_autoencoder_is_not_evaluated():
    from acreg.errors import AcregError

    with pytest.raises(AcregError, match="registers"):
        methods.PresetMethod("autoencoder-jsrt")


def test_the_affine_part_of_a_model_has_a_row_of_its_own(tmp_path, capsys):
    from acreg.io import Preprocessing
    from acreg.models import AffineDeformableNet, RegNet

    make_dataset(tmp_path / "data", subjects=20, shape=(40, 32), seed=0)
    preprocessing = Preprocessing(shape=(32, 32), label_values=[0, 1, 2, 3])
    joint = AffineDeformableNet(rank=2, filters=(4, 8), decoder=(8, 4), preprocessing=preprocessing)
    dense = joint.network.get_layer("affine_parameters")
    dense.set_weights([np.zeros(dense.kernel.shape), np.array([0, 0, 0.25, 0, 0, 0])])  # a shift of rows
    head = joint.network.get_layer("head_field")
    head.set_weights([np.zeros(head.kernel.shape), np.array([0.0, 3.0])])  # then one of columns
    joint.save_preset(tmp_path / "joint" / "preset")
    RegNet(rank=2, filters=(4, 8), preprocessing=preprocessing).save_preset(tmp_path / "plain" / "preset")
    models = [f"--model={tmp_path / name / 'preset'}" for name in ("joint", "plain")]
    command = ["evaluate", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--pairs", "2"]
    assert main([*command, *models, "--affine-part", "--save", "displacement"]) == 0
    assert "plain has no affine part" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {
        "joint", "joint-affine", "plain", "unregistered",
    }  # fmt: skip
    found = {}
    for name in ("joint", "joint-affine"):
        file = next((tmp_path / "out" / name).glob("*__*/displacement.nii.gz"))
        found[name] = read_displacement(file)[20, 16]
    np.testing.assert_allclose(found["joint"] - found["joint-affine"], [0, 3], atol=0.01)  # 11.2 mm each
    np.testing.assert_allclose(found["joint-affine"], [4 * 11.2 / 8.96, 0], atol=0.01)
