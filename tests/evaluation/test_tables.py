import csv

import pytest

from acreg.evaluation.statistics import compare_methods
from acreg.evaluation.tables import (
    best_methods,
    format_p,
    order_methods,
    summary_table,
    write_statistics_csv,
    write_summary_csv,
)


def test_table_is_mean_sd_with_the_best_in_bold(make):
    columns, rows = summary_table([make("a", [0.8, 0.9]), make("b", [0.7, 0.7], failed=[1])])
    assert columns[:8] == ["Method", "DSC", "HD (mm)", "HD95 (mm)", "ASSD (mm)", "TRE (mm)", "NCC", "SSIM"]
    assert rows[0][:3] == ["a", "**0.850 (0.050)**", "**6.00 (2.00)**"]
    assert rows[1][:3] == ["b", "0.700 (0.000)", "12.00 (0.00)"]
    assert [row[-3:] for row in rows] == [["2", "0", "0"], ["2", "1", "0"]]


def test_ties_share_the_bold_and_the_unregistered_row_has_no_field(make):
    results = [make("a", [0.8]), make("b", [0.8]), make("unregistered", [0.5])]
    best = best_methods(results)
    assert {("a", "dsc"), ("b", "dsc"), ("a", "folded_percent")} <= best
    _, rows = summary_table(results)
    assert rows[2][8:11] == ["–", "–", "–"] and "–" not in rows[2][1:8]


def test_the_true_error_has_a_heading_where_one_method_has_it(make):
    known, plain = make("known", [0.8, 0.9]), make("plain", [0.7, 0.7])
    for pair in known.pairs:
        for scores in pair.labels.values():
            scores["tre_true"] = 2.0
    columns, rows = summary_table([known, plain])
    at = columns.index("True TRE (mm)")
    assert rows[0][at] == "2.00 (0.00)" and rows[1][at] == "–"
    assert "True TRE (mm)" not in summary_table([plain])[0]


def test_local_values_are_columns_without_a_best(make):
    results = [make("a", [0.8, 0.9]), make("b", [0.7, 0.7])]
    for result, of in zip(results, (0.9, 0.5), strict=True):
        for pair in result.pairs:
            for scores in pair.labels.values():
                scores |= {"lcc": of, "label_sd_log_j": of / 2}
    columns, rows = summary_table(results)
    at = columns.index("LCC")
    assert columns[at + 1] == "SDlogJ in labels" and rows[0][at : at + 2] == ["0.900 (0.000)", "0.450 (0.000)"]
    assert not {metric for _, metric in best_methods(results)} & {"lcc", "label_sd_log_j"}


def test_unit_of_the_dataset_is_in_the_columns(make):
    result = make("a", [0.8])
    result.summary["dataset"]["unit"] = "px"
    assert "HD (px)" in summary_table([result])[0]


def test_order_is_by_dice_with_the_baseline_last(make):
    results = [make("unregistered", [0.9]), make("bad", [0.5]), make("none", [0.5], failed=[0]), make("good", [0.8])]
    assert [result.name for result in order_methods(results)] == ["good", "bad", "none", "unregistered"]


def test_csv_files_hold_unrounded_numbers(two, tmp_path):
    write_summary_csv(two, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[0]["dsc_mean"]) == two[0].values("dsc").mean() and rows[0]["pairs"] == "12"
    write_statistics_csv(compare_methods(two), tmp_path / "statistics.csv")
    with (tmp_path / "statistics.csv").open() as stream:
        tests = list(csv.DictReader(stream))
    assert [row["metric"] for row in tests] == ["dsc", "hd", "hd95", "assd", "tre"]
    assert float(tests[0]["p"]) == pytest.approx(compare_methods(two)[0].p)


def test_p_values():
    assert [format_p(p) for p in (0.0499, 0.0001, 1.0, float("nan"))] == ["0.0499", "< 0.001", "1.0000", "–"]
