import json

import numpy as np
import pytest

from acreg.errors import AcregError, UsageError
from acreg.evaluation import check_same_pairs, keep_pairs, load_results, read_method, write_method
from acreg.evaluation.method_result import measured, statistics_of, summarise
from acreg.evaluation.tables import summary_table, write_summary_csv
from acreg.names import pair_folder


def test_written_results_are_read_back(make, tmp_path):
    result = make("a", [0.1 + 0.2, 0.7, 0.9], failed=[1])
    result.pairs[2].labels[2] = dict.fromkeys(("dsc", "hd", "hd95", "assd"), float("nan"))
    write_method(result, tmp_path / "a")
    again = read_method(tmp_path / "a")
    for metric in ("dsc", "hd", "hd95", "assd", "folded_percent", "sd_log_j", "seconds"):
        np.testing.assert_array_equal(again.values(metric), result.values(metric), err_msg=metric)
    assert again.pairs[1].failure == result.pairs[1].failure and again.absent() == {1: 0, 2: 1}
    assert again.label_names == result.label_names and again.unit == "mm"


def test_the_true_error_is_a_column_only_where_it_was_measured(make, tmp_path):
    plain, known = make("plain", [0.5, 0.6]), make("known", [0.5, 0.6])
    for value in known.pairs[0].labels.values():
        value["tre_true"] = 1.5
    for result, there in ((plain, False), (known, True)):
        write_method(result, tmp_path / result.name)
        header = (tmp_path / result.name / "pairs.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
        assert ("tre_true" in header) == there
        summary = json.loads((tmp_path / result.name / "summary.json").read_text(encoding="utf-8"))
        assert ("tre_true" in summary["metrics"]) == ("tre_true" in summary["per_label"]["heart"]) == there
        assert ("tre_true" in measured([read_method(tmp_path / result.name)])) == there
    results = load_results([tmp_path])
    check_same_pairs(results)
    assert measured(results)[-1] == "tre_true"
    np.testing.assert_array_equal(results[0].values("tre_true"), [1.5, np.nan])
    assert np.isnan(results[1].values("tre_true")).all()


def test_results_of_older_versions_lack_the_local_values_and_are_compared_with_newer_ones(make, tmp_path):
    old, new = make("old", [0.5, 0.6]), make("new", [0.5, 0.6])
    for pair in new.pairs:
        for value in pair.labels.values():
            value |= {"lcc": 0.8, "label_sd_log_j": 0.25}
    for result in (old, new):
        write_method(result, tmp_path / result.name)
    assert "lcc" not in (tmp_path / "old" / "pairs.csv").read_text(encoding="utf-8")
    results = load_results([tmp_path / "old", tmp_path / "new"])
    check_same_pairs(results)
    assert measured(results)[-2:] == ("lcc", "label_sd_log_j") and measured(results[:1])[-1] == "tre"
    assert np.isnan(results[0].values("lcc")).all() and np.isnan(results[0].values("lcc", 2)).all()
    assert results[1].values("lcc", 2).tolist() == [0.8, 0.8]
    assert results[1].pairs[0].value("label_sd_log_j") == 0.25


def test_what_an_older_version_called_unregistered_are_aligned_extents(make, tmp_path):
    write_method(make("unregistered", [0.5, 0.75]), tmp_path / "new" / "unregistered")
    write_method(make("unregistered", [0.6, 0.8]), tmp_path / "old" / "unregistered")
    path = tmp_path / "old" / "unregistered" / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    del summary["measures"]
    path.write_text(json.dumps(summary), encoding="utf-8")
    found = {result.name: result for result in load_results([tmp_path / "new", tmp_path / "old"])}
    assert list(found) == ["unregistered", "unregistered[align=extents]"]
    assert all(result.is_baseline for result in found.values())
    assert found["unregistered[align=extents]"].values("dsc").tolist() == [0.6, 0.8]


def test_what_an_older_version_called_tre_is_the_centroid_error(make, tmp_path):
    """It had one of the two, in the column of the other, and no "measures" in its summary."""
    for name in ("new", "old"):
        write_method(make(name, [0.5, 0.75]), tmp_path / name)
    path = tmp_path / "old" / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    assert summary.pop("measures") == 2
    path.write_text(json.dumps(summary), encoding="utf-8")
    new, old = load_results([tmp_path / "new", tmp_path / "old"])
    assert new.values("tre").tolist() == [0.5, 0.25] and np.isnan(new.values("centroid_error")).all()
    assert old.values("centroid_error", 2).tolist() == [0.5, 0.25] and np.isnan(old.values("tre")).all()
    columns, rows = summary_table([new, old])
    shown = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [row["TRE (mm)"] for row in shown] == ["0.38 (0.12)", "–"]
    assert [row["Centroid error (mm)"] for row in shown] == ["–", "0.38 (0.12)"]


def test_a_pair_is_the_mean_over_its_labels_and_the_sd_is_the_populations(make):
    result = make("a", [0.5, 0.9])
    result.pairs[0].labels[2]["dsc"] = 0.7
    assert result.values("dsc").tolist() == [0.6, 0.9]
    assert result.values("dsc", 2).tolist() == [0.7, 0.9]
    assert statistics_of(result.values("dsc"))["sd"] == pytest.approx(0.15)


def test_a_method_that_always_fails_has_null_means_in_valid_json(make, tmp_path):
    write_method(make("a", [0.5, 0.5], failed=[0, 1]), tmp_path)
    summary = json.loads(
        (tmp_path / "summary.json").read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name)
    )
    assert summary["metrics"]["hd"] == {"mean": None, "sd": None, "median": None, "n": 0} and summary["failed"] == 2


def test_worst_pairs_first_and_failed_ones_before_all(make):
    result = make("a", [0.9, 0.2, 0.5, 0.7], failed=[3])
    assert [pair.fixed for pair in result.worst_first()] == ["s3", "s1", "s2", "s0"]


def test_lost_labels_are_counted_and_results_that_left_them_out_are_refused(make, tmp_path):
    """Older versions gave a label of one map alone no Dice: their means are higher than they should be."""
    result = make("x", [0.5, 0.6])
    nothing = dict.fromkeys(("hd", "hd95", "assd", "tre"), float("nan"))
    result.pairs[0].labels[2] = {**nothing, "dsc": 0.0, "lcc": 0.4}
    result.pairs[1].labels[2] = {**nothing, "dsc": float("nan"), "lcc": float("nan")}
    write_method(result, tmp_path / "x")
    again = read_method(tmp_path / "x")
    assert again.lost() == {1: 0, 2: 1} and again.absent() == {1: 0, 2: 2}
    assert again.values("dsc").tolist() == [0.25, 0.6]
    write_summary_csv([again], tmp_path / "summary.csv")
    assert (tmp_path / "summary.csv").read_text(encoding="utf-8").splitlines()[1].endswith(",2,0,2,1,0,0")
    result.pairs[0].labels[2]["dsc"] = float("nan")
    write_method(result, tmp_path / "old")
    with pytest.raises(AcregError, match="older version left lost labels out.*Run the evaluation again"):
        read_method(tmp_path / "old")


def test_evaluation_folders_and_method_folders_are_found_once(make, tmp_path):
    for name in ("a", "b"):
        write_method(make(name, [0.5]), tmp_path / "run" / name)
    assert [r.name for r in load_results([tmp_path / "run", tmp_path / "run" / "a"])] == ["a", "b"]
    write_method(make("a", [0.5]), tmp_path / "other" / "a")
    assert [r.name for r in load_results([tmp_path / "run", tmp_path / "other"])] == ["run/a", "b", "other/a"]


@pytest.mark.parametrize(
    "damage, found",
    [
        (lambda f: (f / "pairs.csv").unlink(), "pairs.csv"),
        (lambda f: (f / "summary.json").write_text("{"), "Received"),
        (lambda f: (f / "pairs.csv").write_text("fixed,moving\na,b\n"), "label"),
        (
            lambda f: (f / "pairs.csv").write_text(
                (f / "pairs.csv").read_text(encoding="utf-8").splitlines()[0] + "\n"
            ),
            "no rows",
        ),
        (lambda f: (f / "pairs.csv").write_text((f / "pairs.csv").read_text(encoding="utf-8")[:-60]), "Received"),
    ],
)
def test_damaged_results_are_refused(make, tmp_path, damage, found):
    write_method(make("a", [0.5, 0.6]), tmp_path)
    damage(tmp_path)
    with pytest.raises(AcregError, match=found):
        load_results([tmp_path])


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(AcregError, match=r"no summary\.json"):
        load_results([tmp_path])


def test_different_pairs_data_units_or_labels_are_not_compared(make):
    first = make("first", [0.5, 0.6, 0.7])
    with pytest.raises(AcregError, match=r"3 pairs against 2; only in first: s2 <- s3"):
        check_same_pairs([first, make("second", [0.5, 0.6])])
    for key, value in (("split", "validation"), ("unit", "px"), ("name", "hearts")):
        other = make("second", [0.5, 0.6, 0.7])
        other.summary["dataset"] = {**other.summary["dataset"], key: value}
        with pytest.raises(AcregError, match=f"{key} is .*'{value}'"):
            check_same_pairs([first, other])
    other = make("second", [0.5, 0.6, 0.7])
    other.label_names = {1: "lung"}
    with pytest.raises(AcregError, match="labels are"):
        check_same_pairs([first, other])


def test_pairs_in_another_order_are_brought_into_the_first_ones(make):
    first, other = make("first", [0.5, 0.6, 0.7]), make("second", [0.5, 0.6, 0.7])
    other.pairs.reverse()
    check_same_pairs([first, other])
    assert other.keys == first.keys and other.values("dsc").tolist() == [0.5, 0.6, 0.7]


def test_pairs_are_kept_by_the_name_of_their_fixed_subject(make):
    first, other = make("first", [0.5, 0.6, 0.7]), make("second", [0.1, 0.2, 0.3])
    keep_pairs([first, other], "s[02]")
    assert first.keys == other.keys == [("s0", "s1"), ("s2", "s3")] and other.values("dsc").tolist() == [0.1, 0.3]
    with pytest.raises(UsageError, match="Received: x, which none of the 2 is, such as s0, s2"):
        keep_pairs([first, other], "x")


def test_names_that_a_path_cannot_hold_are_replaced():
    assert pair_folder("a/b", "../c d").startswith("a_b___c_d-")
    assert pair_folder("JPCLN001", "sub-02_T1") == "JPCLN001__sub-02_T1"


def test_summary_counts(make):
    summary = summarise(make("a", [0.5, 0.6, 0.7], failed=[0]))
    assert summary["pairs"] == 3 and summary["failed"] == 1
    assert summary["absent_labels"] == {"left lung": 0, "heart": 0}
    assert summary["per_label"]["heart"]["dsc"]["n"] == 2


def test_one_unregistered_row_is_enough(make, tmp_path):
    for run in ("x", "y"):
        write_method(make("unregistered", [0.5]), tmp_path / run / "unregistered")
        write_method(make("a", [0.5]), tmp_path / run / "a")
    names = [result.name for result in load_results([tmp_path / "x", tmp_path / "y"])]
    assert names == ["x/a", "unregistered", "y/a"]
    write_method(make("unregistered", [0.5, 0.6]), tmp_path / "y" / "unregistered")
    assert len(load_results([tmp_path / "x", tmp_path / "y"])) == 4


def test_results_of_a_method_show_themselves_as_a_table(make):
    result = make("mine", [0.9, 0.7, 0.5], failed=[2])
    assert repr(result) == "MethodResult(mine: 3 pairs, 1 failed)"
    page = result._repr_html_()
    assert "<th>DSC</th>" in page and "<td>0.800 (0.100)</td>" in page and page.count("<tr>") == 2
