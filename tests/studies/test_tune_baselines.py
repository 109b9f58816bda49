from __future__ import annotations

import csv
import json

import pytest

from acreg.baselines import TOOLS
from acreg.baselines.options import read_options, split_name
from acreg.data.phantoms.chests import make_dataset
from acreg.errors import AcregError
from acreg.evaluation import MethodResult, PairScores
from acreg.registration.methods import named_method
from studies.svfnet import tune_baselines

METHOD = "sitk:symmetric-demons"


def result(name, dice, folded=0.0, failed=False):
    ok = PairScores("a", "b", {1: {"dsc": dice}}, folded_percent=folded)
    return MethodResult(name, {1: "heart"}, [PairScores("b", "a", failure="no")] * failed + [ok])


def test_every_setting_is_one_of_its_method_and_has_no_affine_stage():
    for method in tune_baselines.GRIDS:
        names = tune_baselines.candidates(method)
        assert len(names) == len(set(names)) > 4
        tool, _, kind = method.partition(":")
        if tool == "acreg":
            read = [named_method(name, 1, 0).settings["options"] for name in names]
        else:  # the program itself need not be there
            read = [read_options(*split_name(name), TOOLS[tool].module.OPTIONS[kind]) for name in names]
        assert all(options.get("affine") is False or options.get("linear") == "none" for options in read)
        assert {options["smoothing"] for options in read} == set(tune_baselines.GRIDS[method]["smoothing"])


def test_the_highest_dice_wins_among_those_that_fold_little_and_never_fail():
    made = [result("folds", 0.9, 0.2), result("fails", 0.95, 0, True), result("good", 0.7), result("best", 0.8, 0.1)]
    ranked = tune_baselines.rank([*made, result("nan", float("nan"))], 0.1)
    assert [one.name for one in ranked] == ["best", "good", "nan", "fails", "folds"]
    assert tune_baselines.rank(made, 0.2)[0].name == "folds"


def test_a_search_writes_the_ranks_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    grid = {"affine": (False,), "iterations": ((1,), (40, 20)), "smoothing": (1.0,)}
    monkeypatch.setattr(tune_baselines, "GRIDS", {METHOD: grid})
    dataset = make_dataset(tmp_path / "data", subjects=12, shape=(40, 32), seed=0)
    out = tmp_path / "out"
    command = ["--data", str(dataset.folder), "--pairs", "2", "--out", str(out), "--methods", METHOD, "--folded", "5"]
    tune_baselines.main(command)
    best = f"{METHOD}[affine=false,iterations=40x20,smoothing=1.0]"
    assert f"--method '{best}'" in capsys.readouterr().out
    with (out / "settings.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["rank"], row["name"], row["allowed"]) for row in rows] == [
        ("1", best, "True"),
        ("2", f"{METHOD}[affine=false,iterations=1,smoothing=1.0]", "True"),
    ]
    assert float(rows[0]["dsc"]) > float(rows[1]["dsc"]) > 0 and -1 < float(rows[0]["lcc"]) < 1
    written = json.loads((out / "best.json").read_text(encoding="utf-8"))
    assert written["best"] == {METHOD: best} and len(written["pairs"]) == 2
    train = {record.subject for record in dataset.split("train")}
    assert {name for pair in written["pairs"] for name in pair} <= train
    monkeypatch.setattr(tune_baselines, "score_pair", lambda *given: pytest.fail("measured already"))
    tune_baselines.main([*command[:-1], "0"])  # the last argument is the limit
    assert float(rows[0]["folded_percent"]) > 0, "the best one folds, so that without folding another one wins"
    assert json.loads((out / "best.json").read_text(encoding="utf-8"))["best"] == {METHOD: rows[1]["name"]}
    with pytest.raises(AcregError, match="same pairs, with the same seed.*Choose another --out"):
        tune_baselines.main([*command, "--seed", "1"])
