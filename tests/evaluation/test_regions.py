import csv

import numpy as np
import pytest

from acreg.data.tables.region_table import RegionTable
from acreg.errors import AcregError
from acreg.evaluation import MethodResult, PairScores, read_method, write_method
from acreg.evaluation.regions import (
    absent_note,
    check_regions,
    region_note,
    region_table,
    region_values,
    write_regions_csv,
)
from acreg.evaluation.tables import wins, wins_table, write_summary_csv
from acreg.report.html import build_report

METRICS = ("dsc", "hd", "hd95", "assd", "tre")
NAMES = {1: "a", 2: "b", 3: "c", 9: "stray"}
REGIONS = RegionTable("lobes", {"front": (1, 2), "nowhere": (70,), "back": (3,)})


def method(name, dsc):
    """`dsc[pair][label - 1]`; the distances are ten times what is missing to 1, and label 9 scores nothing."""
    pairs = []
    for index, values in enumerate(dsc):
        labels = {
            label: {m: value if m == "dsc" else 10 * (1 - value) for m in METRICS}
            for label, value in zip(NAMES, (*values, np.nan), strict=True)
        }
        pairs.append(PairScores(f"s{index}", f"t{index}", labels))
    return MethodResult(name, dict(NAMES), pairs, {"dataset": {"name": "brains", "split": "test", "unit": "mm"}})


@pytest.fixture
def results():
    return [method("A", [[0.5, 0.7, 0.9], [0.3, 0.7, 0.7]]), method("B", [[0.6, 0.4, 0.9], [0.6, 0.4, 0.7]])]


def test_a_pair_is_the_mean_over_the_regions_labels_and_the_mean_runs_over_pairs(results):
    np.testing.assert_allclose(region_values(results[0], (1, 2), "dsc"), [0.6, 0.5])
    columns, rows = region_table(results, REGIONS)
    assert columns == ["Metric", "Method", "front", "back"]  # a region without labels here is no column
    assert rows[0] == ["DSC", "A", "**0.550 (0.050)**", "**0.800 (0.100)**"]
    assert rows[1] == ["", "B", "0.500 (0.000)", "**0.800 (0.100)**"]  # a tie, as printed
    assert rows[2] == ["HD (mm)", "A", "**4.50 (0.50)**", "**2.00 (1.00)**"]
    assert [row[0] for row in rows[::2]] == ["DSC", "HD (mm)", "HD95 (mm)", "ASSD (mm)", "TRE (mm)"]


def test_labels_and_pairs_without_a_value_do_not_count(results):
    results[0].pairs[0].labels[2]["dsc"] = float("nan")
    np.testing.assert_allclose(region_values(results[0], (1, 2), "dsc"), [0.5, 0.5])
    results[0].pairs[1] = PairScores("s1", "t1", failure="RuntimeError: no")
    np.testing.assert_allclose(region_values(results[0], (1, 2), "dsc"), [0.5, np.nan])
    np.testing.assert_array_equal(region_values(results[0], (9,), "dsc"), [np.nan, np.nan])


def test_a_region_that_holds_all_labels_is_the_overall_mean(results):
    for metric in METRICS:
        np.testing.assert_allclose(region_values(results[0], tuple(NAMES), metric), results[0].values(metric))


def test_results_of_older_versions_have_regions_of_what_they_measured(results, tmp_path):
    write_method(results[0], tmp_path / "old")
    lines = list(csv.DictReader((tmp_path / "old" / "pairs.csv").read_text(encoding="utf-8").splitlines()))
    with (tmp_path / "old" / "pairs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [c for c in lines[0] if c not in ("tre", "ncc", "ssim")], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    old = [read_method(tmp_path / "old")]
    rows = region_table(old, REGIONS)[1]
    assert rows[0] == ["DSC", "A", "0.550 (0.050)", "0.800 (0.100)"]
    assert rows[-1] == ["TRE (mm)", "A", "–", "–"]


def test_labels_of_no_region_are_counted_and_named(results):
    assert region_note(results, REGIONS) == (
        "Of 4 labels: front 2, nowhere 0, back 1; 1 in no region and left out (stray)."
    )
    check_regions(results, REGIONS)
    with pytest.raises(AcregError, match="other, which has none of 1, 2, 3, 9 in a region. Choose"):
        check_regions(results, RegionTable("other", {"x": (1001, 1002)}))


def test_label_values_without_distances_are_counted(results, tmp_path):
    for scores in (pair.labels[1] for pair in results[0].pairs):
        scores |= {"dsc": 0.0, "hd": np.nan, "hd95": np.nan, "assd": np.nan}
    counted = {result.name: sum(result.absent().values()) for result in results}
    assert f"because a map lacks the label: A {counted['A']}, B {counted['B']}." in absent_note(results)
    write_regions_csv(results, REGIONS, tmp_path / "regions.csv")
    with (tmp_path / "regions.csv").open() as stream:
        absent = {(row["method"], row["region"]): row["absent"] for row in csv.DictReader(stream)}
    assert absent["A", "front"] == str(len(results[0].pairs)) and absent["B", "front"] == "0"


def test_wins_count_labels_and_ties_count_for_each(results):
    # Label 1 is B's, label 2 is A's, label 3 is a tie, and label 9 has no values.
    assert wins(results) == {(name, metric): 2 for name in "AB" for metric in METRICS}
    results[1].pairs[0].labels[3]["dsc"] += 1e-9
    assert wins(results)["A", "dsc"] == 1 and wins(results)["B", "dsc"] == 2
    assert wins_table(results)[1] == [["A", "1", "2", "2", "2", "2"], ["B", "2", "2", "2", "2", "2"]]
    assert set(wins(results[:1]).values()) == {0}, "one method competes with nobody"


def test_csv_files_are_unrounded(results, tmp_path):
    write_regions_csv(results, REGIONS, tmp_path / "regions.csv")
    with (tmp_path / "regions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 5
    assert [rows[0][key] for key in ("method", "table", "region", "labels", "metric")] == [
        *("A", "lobes", "front", "2", "dsc")
    ]
    assert float(rows[0]["mean"]) == pytest.approx(0.55) and float(rows[0]["sd"]) == pytest.approx(0.05)
    write_summary_csv(results, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as stream:
        assert [row["dsc_wins"] for row in csv.DictReader(stream)] == ["2", "2"]
    write_summary_csv(results[:1], tmp_path / "table.csv")
    assert "wins" not in (tmp_path / "table.csv").read_text(encoding="utf-8")


def test_the_report_has_a_section_of_regions(results, monkeypatch):
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")  # charts take seconds
    results[0].name = "<A>"
    text = build_report(results, [], worst=0, regions=RegionTable("lobes", {"<front>": (1, 2)}))
    section = text[text.index('<section id="regions">') : text.index('<section id="labels">')]
    assert "&lt;front&gt;" in section and "&lt;A&gt;" in section and "<strong>0.550 (0.050)</strong>" in section
    assert "2 in no region and left out (c, stray)" in section and 'href="#regions"' in text
    assert 'id="regions"' not in build_report(results, [], worst=0)
    assert "Labels won" in text and "Labels won" not in build_report(results[:1], [], worst=0)
