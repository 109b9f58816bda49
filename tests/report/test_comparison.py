"""`acreg.evaluate`, then `acreg.compare`: what their commands do, as functions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import acreg
from acreg.cli.main import main
from acreg.data.phantoms.chests import make_dataset
from acreg.errors import AcregError, UsageError
from acreg.geometry import Image, Transform


class Shift:
    name = "shift"

    def register(self, *, fixed: Image, moving: Image) -> Transform:
        field = np.full((*fixed.grid.shape, 2), 2.0)
        return Transform.between_extents(fixed.grid, moving.grid, field)


@pytest.mark.filterwarnings("ignore::acreg.errors.DoubtfulResult")
def test_an_evaluation_and_a_comparison_as_their_commands_make_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")  # charts take seconds
    data = make_dataset(tmp_path / "data", subjects=20, shape=(40, 32), seed=0)
    said: list[str] = []
    found = acreg.evaluate(
        data, tmp_path / "a", method=[Shift(), "mine=sitk:affine"], pairs=3, save="labels", say=said.append
    )
    assert said[0] == "3 pairs of phantoms (test, 4 subjects), 3 methods"
    assert {result.name for result in found.results} == {"shift", "mine", "unregistered"}
    assert len(found.pairs) == found.labelled == 3 and found.title == "phantoms, test, 3 pairs"
    page = found._repr_html_()
    assert repr(found).startswith("Evaluation(phantoms, test, 3 pairs: ") and page.count("<tr>") == 4 and "DSC" in page
    words = ["evaluate", "--data", str(tmp_path / "data"), "--method", "mine=sitk:affine", "--pairs", "3"]
    assert main([*words, "--save", "labels", "--out", str(tmp_path / "b")]) == 0
    summaries = [json.loads((tmp_path / name / "mine" / "summary.json").read_text()) for name in "ab"]
    for summary in summaries:
        del summary["metrics"]["seconds"], summary["started"]
    assert summaries[0] == summaries[1]

    compared = acreg.compare(tmp_path / "a", label_tests=True)
    files = compared.save(tmp_path / "python", worst=0)
    assert main(["compare", str(tmp_path / "a"), "--label-tests", "--worst=0", f"--out={tmp_path / 'c'}"]) == 0
    assert sorted(path.name for path in files) == sorted(path.name for path in (tmp_path / "c").iterdir())
    for path in files:
        assert path.read_bytes() == (tmp_path / "c" / path.name).read_bytes(), path.name
    first, won = compared.tables
    assert first.title == "phantoms, test, 3 pairs: mean (SD)" and won.title == "Labels won"
    assert [row[0] for row in first.rows] == [result.name for result in found.results]
    assert compared.statistics is not None and len(compared.statistics.rows) == 3
    assert compared._repr_html_().count("<table>") == 3 and "3 pairs" in repr(compared)

    kinds = [tmp_path / "a" / name for name in ("unregistered", "shift")]  # the worse first, as named
    one_sided = acreg.compare(*kinds, test="mann-whitney", alternative="better")
    assert [(c.first, c.alternative) for c in one_sided.comparisons[:1]] == [("unregistered", "better")]
    assert one_sided.statistics is not None
    assert one_sided.statistics.title.startswith("Mann-Whitney U, one-sided (the first method is better), p Benjamini")
    words = ["compare", *map(str, kinds), "--test", "mann-whitney", "--alternative", "better", "--worst", "0"]
    assert main([*words, "--out", str(tmp_path / "d")]) == 0
    assert "two-sided" not in (tmp_path / "d" / "statistics.csv").read_text(encoding="utf-8")

    with pytest.raises(AcregError, match=r"none is kept|not replaced unasked"):
        acreg.evaluate(data, tmp_path / "a", method=Shift(), pairs=3)
    for arguments, text in (
        ({"unregistered": False}, "Received: no model and no method"),
        ({"refine": 3}, "Received: refine without model"),
        ({"save": ["all"], "method": Shift()}, "Received: all"),
        ({"pairs": 99}, r"Received: pairs='99', that is 99, and 12 possible"),
    ):
        with pytest.raises(UsageError, match=text):
            acreg.evaluate(data, tmp_path / "new", **arguments)
    with pytest.raises(UsageError, match="Results are compared from folders"):
        acreg.compare()
    assert not (tmp_path / "new").exists()
